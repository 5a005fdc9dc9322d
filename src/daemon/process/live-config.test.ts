import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Logger, silentLogger } from "../../base/logger.ts";
import { defaultConfig, parseConfig } from "../../config/load.ts";
import { LiveConfig, type ReloadPart } from "./live-config.ts";

function withLog() {
  const told: string[] = [];
  const tell: Logger["info"] = (message, fields) =>
    told.push(`${message} ${JSON.stringify(fields ?? {})}`);
  const log: Logger = { ...silentLogger, info: tell, warn: tell, error: tell };
  const live = new LiveConfig(defaultConfig());
  const reload = (text: string) =>
    live.reload({ cause: "SIGHUP" }, { log, read: () => parseConfig(text, "d.toml") });
  return { told, live, log, reload };
}

describe("LiveConfig.reload()", () => {
  test("uses what can change, logs old and new values, and names what waits for a restart", async () => {
    const { told, live, reload } = withLog();
    const text =
      'root = "/elsewhere"\n[log]\nlevel = "debug"\n[tracing]\nendpoint = "http://u:p@h/"\n';
    const report = await reload(text);
    assert.equal(live.value.log.level, "debug");
    assert.equal(live.value.root, "/var/lib/davit");
    assert.deepEqual(
      report.changed.map(({ key }) => key),
      ["log.level", "tracing.endpoint"],
    );
    assert.match(told[0] ?? "", /^reloaded the configuration {"cause":"SIGHUP","changed":\["log\./);
    assert.match(told[0] ?? "", /log\.level: \\"info\\" -> \\"debug\\"/);
    assert.doesNotMatch(told.join(), /u:p/);
    assert.match(told[1] ?? "", /when davit restarts; pods keep running {"keys":\["root: /);
    // What waits is still reported by the next reload, and what took effect is not.
    const again = await reload(text);
    assert.deepEqual([again.changed.length, again.waiting.map(({ key }) => key)], [0, ["root"]]);
  });

  test("changes nothing for an invalid file, and reports each error", async () => {
    const { told, live, log, reload } = withLog();
    const { refused } = await reload('[log]\nlevel = "loud"\n[cni]\nx = 1\n');
    const deps = {
      log,
      read: () => {
        throw new Error("no such file");
      },
    };
    await live.reload({}, deps);
    assert.equal(live.value, live.value);
    assert.equal(live.value.log.level, "info");
    assert.equal(refused.length, 2);
    assert.deepEqual(
      told.map((line) => /previous one: (d\.toml:\d|no such file)/.exec(line)?.[1]),
      ["d.toml:2", "d.toml:4", "no such file"],
    );
  });

  test("is refused as a whole when a part cannot use its settings, and returns what others obtained", async () => {
    const { live, reload } = withLog();
    const events: string[] = [];
    const part = (name: string, error?: Error): ReloadPart => ({
      prepare: ({ next, undo }) => {
        if (error !== undefined) throw error;
        undo.defer(() => {
          events.push(`undone ${name}`);
        });
        return () => events.push(`committed ${name} ${next.log.level} ${live.value.log.level}`);
      },
    });
    live.add(part("a"), part("b", new Error("taken")), part("c"), part("d", new Error("gone")));
    const { refused } = await reload('[log]\nlevel = "debug"\n');
    assert.deepEqual(refused, ["taken", "gone"]);
    assert.equal(live.value.log.level, "info");
    assert.deepEqual(events, ["undone c", "undone a"]);

    const other = withLog();
    events.length = 0;
    other.live.add({
      prepare: ({ undo }) => {
        undo.defer(() => {
          events.push("undone");
        });
        return () => events.push(`committed ${other.live.value.log.level}`);
      },
    });
    await other.reload('[log]\nlevel = "debug"\n');
    assert.deepEqual(events, ["committed debug"]);
  });

  test("one at a time", async () => {
    const { live, reload } = withLog();
    const gate = Promise.withResolvers<undefined>();
    const events: string[] = [];
    live.add({
      prepare: async ({ next }) => {
        events.push(`begin ${next.log.level}`);
        await gate.promise;
        return () => events.push(`end ${next.log.level}`);
      },
    });
    const both = Promise.all([
      reload('[log]\nlevel = "debug"\n'),
      reload('[log]\nlevel = "error"\n'),
    ]);
    gate.resolve(undefined);
    await both;
    assert.deepEqual(events, ["begin debug", "end debug", "begin error", "end error"]);
    assert.equal(live.value.log.level, "error");
  });
});
