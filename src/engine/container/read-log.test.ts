import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { LogLine } from "../../core/container/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { type LogRequest, readContainerLog } from "./read-log.ts";
import { reopenContainerLog } from "./reopen-log.ts";
import { removeContainer } from "./remove.ts";

function lineOf(text: string): LogLine {
  return { time: "", stream: "stdout", partial: false, text: Buffer.from(text) };
}

/** Reads a log in the background. */
function reading(
  engine: FakeEngine,
  id: string,
  request: Partial<LogRequest> = {},
  signal = never,
): { readonly lines: string[]; readonly end: Promise<void> } {
  const lines: string[] = [];
  const read = async (): Promise<void> => {
    const wanted = { follow: false, ...request };
    for await (const batch of readContainerLog(engine.containers, id, wanted, signal)) {
      lines.push(...batch.map(({ text }) => Buffer.from(text).toString()));
    }
  };
  return { lines, end: read() };
}

async function withLog(engine: FakeEngine): Promise<string> {
  const id = await engine.start(await engine.run({ logDirectory: "/logs" }), { logPath: "a.log" });
  engine.world.logs.byPath.set(engine.containers.store.get(id).logPath, [lineOf("a")]);
  return id;
}

describe("readContainerLog()", () => {
  test("reads the log of a container that is named by a part of its id", async (t) => {
    const engine = new FakeEngine(t);
    const id = await withLog(engine);
    const log = reading(engine, id.slice(0, 8), { tail: 3, sinceNs: 1n });
    await log.end;
    assert.deepEqual(log.lines, ["a"]);
    const [asked] = engine.world.logs.asked;
    assert.deepEqual(asked, { tail: 3, sinceNs: 1n, follow: undefined });
  });

  test("follows until the container has ended", async (t) => {
    const engine = new FakeEngine(t);
    const id = await withLog(engine);
    const log = reading(engine, id, { follow: true });
    await settle();
    const ended = engine.world.logs.asked[0]?.follow?.ended;
    assert.equal(ended?.aborted, false);
    engine.world.runtime.exit(id);
    await log.end;
    assert.equal(ended.aborted, true);
    // One that has ended already is read to its end.
    await reading(engine, id, { follow: true }).end;
    assert.equal(engine.world.logs.asked[1]?.follow?.ended.aborted, true);
  });

  test("follows a container from before its start, until its removal", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run({ logDirectory: "/logs" });
    const id = await engine.create(pod, { logPath: "a.log" });
    const log = reading(engine, id, { follow: true });
    await settle();
    assert.equal(engine.world.logs.asked[0]?.follow?.ended.aborted, false);
    await removeContainer(engine.containers, id, never);
    await log.end;
  });

  test("ends with its caller, and does not listen any more", async (t) => {
    const engine = new FakeEngine(t);
    const id = await withLog(engine);
    const caller = new AbortController();
    const log = reading(engine, id, { follow: true }, caller.signal);
    await settle();
    caller.abort();
    await log.end;
    const ended = engine.world.logs.asked[0]?.follow?.ended;
    engine.world.runtime.exit(id);
    await settle();
    assert.equal(ended?.aborted, false);
  });

  test("names the container where there is no log", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run({ logDirectory: "/logs" });
    await assert.rejects(reading(engine, "none").end, { kind: "not-found" });
    const without = await engine.start(pod);
    await assert.rejects(reading(engine, without).end, {
      kind: "failed-precondition",
      message: `read the log of container "${without}": it has no log, since its request had no log_path`,
    });
    const id = await engine.create(pod, { metadata: { name: "other" }, logPath: "b.log" });
    await assert.rejects(reading(engine, id).end, {
      kind: "not-found",
      message: new RegExp(`^read the log of container "${id}": read log "/logs/b.log"`),
    });
  });

  test("is told about rotations by ReopenContainerLog", async (t) => {
    const engine = new FakeEngine(t);
    const id = await withLog(engine);
    await reopenContainerLog(engine.containers, id);
    assert.deepEqual(engine.world.logs.rotations, ["/logs/a.log"]);
    const { sandboxId } = engine.containers.store.get(id);
    const without = await engine.start(sandboxId, { metadata: { name: "other" } });
    await reopenContainerLog(engine.containers, without);
    assert.equal(engine.world.logs.rotations.length, 1);
  });
});
