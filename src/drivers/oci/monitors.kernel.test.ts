/** Containers whose monitor is not the one of the configuration: of before it was changed, or of another davit. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { after, describe, test } from "node:test";

import { testOperation } from "../../core/operation/testing/operation.ts";
import { TestClient } from "../../core/streaming/testing/test-client.ts";
import { until } from "../../linux/testing/leaks.ts";
import type { MonitorName } from "./container-monitor.ts";
import { StateLayout } from "./state-layout.ts";
import { TestHost } from "./testing/sandbox.ts";

const host = await TestHost.open();
const paths = new StateLayout(host.state);
const soon = (): AbortSignal => AbortSignal.timeout(20_000);

after(() => host[Symbol.asyncDispose]());

const parrot = ["sh", "-c", "while read line; do echo $line; done; exit 7"];

for (const [started, later] of [
  ["conmon", "davit"],
  ["davit", "conmon"],
] as const satisfies readonly (readonly [MonitorName, MonitorName])[]) {
  describe(`a container of ${started} under a daemon with monitor = "${later}"`, () => {
    for (const isRecorded of [true, false]) {
      const how = isRecorded ? "" : ", whose start was not recorded";
      test(`continues: attach, a new log, its exit${how}`, async () => {
        const first = await host.runtime({ monitor: started });
        const options = { args: parrot, stdin: true, stdinOnce: true };
        const { id, process, monitor } = await host.start(first, options);
        await first.close();

        const second = await host.runtime({ monitor: later });
        if (isRecorded) {
          const cgroupPath = host.cgroupPath(id);
          await second.load(id, { runtimePath: "crun", process, monitor, cgroupPath });
        } else {
          const found = await second.loadUnrecorded(id);
          assert.deepEqual(found?.process, process);
          assert.equal(found.monitor?.pid, monitor?.pid);
        }
        const client = new TestClient();
        const streams = client.streams("stdin", "stdout");
        const attached = second.attach(
          id,
          { streams, terminal: false, stdin: "once" },
          testOperation(soon()),
        );
        client.stdin.write("one\n");
        await client.stdout.has("one\n");
        const logPath = host.logPath(id);
        renameSync(logPath, `${logPath}.1`);
        await second.reopenLog(id, logPath);
        client.stdin.end("two\n");
        await attached;
        assert.equal(client.stdout.text, "one\ntwo\n");
        const exit = await second.wait(id, soon());
        assert.deepEqual([exit.exitCode, exit.unknown], [7, false]);
        assert.deepEqual(host.log(id, `${logPath}.1`), [["stdout", "F", "one"]]);
        assert.deepEqual(host.log(id), [["stdout", "F", "two"]]);
        await second.remove(id);
        host.assertGone(id);
      });
    }

    test("is ended and removed when nobody loads it, with a file that it has not renamed", async () => {
      const first = await host.runtime({ monitor: started });
      const { id, monitor } = await host.start(first, { args: ["sleep", "1000"] });
      await first.close();
      const second = await host.runtime({ monitor: later });
      assert.ok((await second.orphans(new Set())).includes(id));
      assert.ok(monitor !== undefined && existsSync(`/proc/${monitor.pid}`));
      await second.remove(id);
      host.assertGone(id);
      await until("the monitor has ended", () => !existsSync(`/proc/${monitor.pid}/exe`));
    });
  });
}

test("a half-written exit file of a monitor that died is removed at the start", async () => {
  const id = "0a".repeat(32);
  for (const name of [`${id}.tmp`, `${id}.GO6DZ3`]) {
    await host.runtime();
    writeFileSync(`${paths.exits}/${name}`, "1");
    await host.runtime();
    assert.ok(!existsSync(`${paths.exits}/${name}`));
  }
});

test("the record of a container says what monitors it, and an older davit's says nothing", async () => {
  for (const [monitor, text] of [
    ["davit", '"monitor":"davit"'],
    ["conmon", '"cgroupPath"'],
  ] as const) {
    const runtime = await host.runtime({ monitor });
    const { id } = await host.start(runtime, { args: ["true"] });
    const facts = readFileSync(paths.file(id, "facts.json"), "utf8");
    assert.ok(facts.includes(text), facts);
    assert.equal(facts.includes('"monitor"'), monitor === "davit");
    await host.end(runtime, id);
  }
});
