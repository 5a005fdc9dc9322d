import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { LogFields } from "../../base/logger.ts";
import type { LogLine } from "../../core/container/index.ts";
import { FakeEngine, never } from "../../engine/testing/engine.ts";
import {
  LogLine_Stream as Stream,
  LogsRequestSchema,
  type LogsResponse,
  LogsResponseSchema,
} from "../../gen/davit/v1/containers_pb.ts";
import type { Call } from "../../wire/grpc/call.ts";
import type { CriContext } from "../context.ts";
import { criMethods } from "../services.ts";

/** Calls Logs as the server does; also returns what the log of calls gets. */
async function logsOf(
  engine: FakeEngine,
  request: Partial<{ containerId: string; follow: boolean; sinceNs: bigint; tail: bigint }>,
): Promise<{ readonly answers: readonly LogsResponse[]; readonly noted: readonly LogFields[] }> {
  const { containers, sandboxes } = engine;
  const noted: LogFields[] = [];
  const methods = criMethods({
    version: "1",
    context: () => ({ containers, sandboxes }) as CriContext,
    soon: () => Promise.resolve(),
    note: (_call, facts) => noted.push(facts),
  });
  const name = "/davit.v1.Containers/Logs";
  const method = methods.get(name);
  assert.equal(method?.kind, "server-stream");
  const call: Call = {
    method: name,
    id: 1,
    signal: never,
    startedAt: 0,
    sendHeaders: () => undefined,
    metadata: () => undefined,
  };
  const bytes = toBinary(LogsRequestSchema, create(LogsRequestSchema, request));
  const answers: LogsResponse[] = [];
  for await (const answer of method.handle(bytes, call)) {
    answers.push(fromBinary(LogsResponseSchema, answer));
  }
  return { answers, noted };
}

async function withLog(engine: FakeEngine, lines: readonly LogLine[]): Promise<string> {
  const id = await engine.start(await engine.run({ logDirectory: "/logs" }), { logPath: "a.log" });
  engine.world.logs.byPath.set(engine.containers.store.get(id).logPath, lines);
  return id;
}

const line: LogLine = {
  time: "1970-01-01T00:00:01.000000002Z",
  stream: "stdout",
  partial: false,
  text: Buffer.from("a"),
};

describe("davit.v1.Containers/Logs", () => {
  test("sends lines with their bytes and times, and names the container in the log", async (t) => {
    const engine = new FakeEngine(t);
    const containerId = await withLog(engine, [
      { ...line, text: Buffer.from([0, 0xff]) },
      { ...line, stream: "stderr", partial: true },
      { ...line, time: "yesterday" },
    ]);
    const { answers, noted } = await logsOf(engine, { containerId });
    assert.deepEqual(
      answers.map(({ lines }) =>
        lines.map(({ timeNs, stream, partial, text }) => [timeNs, stream, partial, [...text]]),
      ),
      [
        [
          [1_000_000_002n, Stream.STDOUT, false, [0, 0xff]],
          [1_000_000_002n, Stream.STDERR, true, [0x61]],
          [0n, Stream.STDOUT, false, [0x61]],
        ],
      ],
    );
    assert.equal(noted[0]?.["container"], containerId);
    assert.equal(noted[0]["follow"], false);
  });

  test("sends messages of bounded size, and none for lines that were not asked for", async (t) => {
    const engine = new FakeEngine(t);
    const containerId = await withLog(
      engine,
      Array.from({ length: 3_000 }, () => line),
    );
    const { answers } = await logsOf(engine, { containerId });
    assert.deepEqual(
      answers.map(({ lines }) => lines.length),
      [1024, 1024, 952],
    );
    engine.world.logs.byPath.set(engine.containers.store.get(containerId).logPath, []);
    assert.deepEqual((await logsOf(engine, { containerId })).answers, []);
  });

  test("begins a followed log with a message, and ends it with the container", async (t) => {
    const engine = new FakeEngine(t);
    const containerId = await withLog(engine, [line]);
    engine.world.runtime.exit(containerId);
    const { answers } = await logsOf(engine, { containerId, follow: true });
    assert.deepEqual(
      answers.map(({ lines }) => lines.length),
      [0, 1],
    );
  });

  test("refuses a time before 1970, and containers that there are not", async (t) => {
    const engine = new FakeEngine(t);
    const containerId = await withLog(engine, []);
    const early = logsOf(engine, { containerId, sinceNs: -1n });
    await assert.rejects(early, { kind: "invalid-argument", message: /since_ns must be/ });
    await assert.rejects(logsOf(engine, { containerId: "none" }), { kind: "not-found" });
    await assert.rejects(logsOf(engine, {}), { kind: "invalid-argument" });
  });
});
