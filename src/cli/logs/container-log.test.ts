import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { CriClient } from "../../client/cri-client.ts";
import {
  LogLine_Stream as Stream,
  LogsRequestSchema,
  LogsResponseSchema,
} from "../../gen/davit/v1/containers_pb.ts";
import { ContainerState, ContainerStatusResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { Method } from "../../wire/grpc/call.ts";
import { serve } from "../../wire/grpc/testing/serving.ts";
import { containerLog, type WantedLog } from "./container-log.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-log-"));
after(() => rmSync(directory, { recursive: true }));

const never = new AbortController().signal;
const { CONTAINER_RUNNING: running, CONTAINER_EXITED: exited } = ContainerState;

/** Reads a log from a server with these methods. */
async function read(
  methods: Readonly<Record<string, Method>>,
  wanted: Partial<WantedLog> = {},
  signal = never,
): Promise<string[]> {
  await using serving = await serve({}, { methods: new Map(Object.entries(methods)) });
  using client = new CriClient(serving.path);
  const limit = () => ({ timeoutMs: 10_000 });
  const server = { client, limit, unlimited: () => ({}) };
  const log = { containerId: "c", name: "web/app", follow: false, ...wanted };
  const found: string[] = [];
  for await (const lines of containerLog(server, log, signal)) {
    found.push(
      ...lines.map(
        ({ time, stream, partial, text }) =>
          `${time.slice(17)} ${stream} ${partial ? "P" : "F"} ${text.toString()}`,
      ),
    );
  }
  return found;
}

/** A server that is not davit: it has only statuses, and the log in a file. */
function statuses(
  logPath: string,
  stateOf: () => ContainerState | Error,
): Readonly<Record<string, Method>> {
  return {
    "/runtime.v1.RuntimeService/ContainerStatus": {
      kind: "unary",
      handle: async () => {
        const state = stateOf();
        if (state instanceof Error) throw state;
        const answer = create(ContainerStatusResponseSchema, { status: { logPath, state } });
        return toBinary(ContainerStatusResponseSchema, answer);
      },
    },
  };
}

const line = "1970-01-01T00:00:01.000000002Z stdout F a\n";
const shown = "01.000000002Z stdout F a";

describe("containerLog()", () => {
  test("asks davit for the lines", async () => {
    const asked: unknown[] = [];
    const logs: Method = {
      kind: "server-stream",
      async *handle(request) {
        const { containerId, follow, tail, sinceNs } = fromBinary(LogsRequestSchema, request);
        asked.push({ containerId, follow, tail, sinceNs });
        const text = Buffer.from("a");
        const lines = [
          { timeNs: 1_000_000_002n, stream: Stream.STDERR, partial: true, text },
          { timeNs: 0n, stream: Stream.STDOUT, text },
        ];
        yield toBinary(LogsResponseSchema, create(LogsResponseSchema, { lines }));
      },
    };
    const wanted = { tail: 0, sinceNs: 5n, follow: true };
    assert.deepEqual(await read({ "/davit.v1.Containers/Logs": logs }, wanted), [
      "01.000000002Z stderr P a",
      " stdout F a",
    ]);
    assert.deepEqual(asked, [{ containerId: "c", follow: true, tail: 0n, sinceNs: 5n }]);
  });

  test("does not read a file when davit fails", async () => {
    const path = join(directory, "secret.log");
    writeFileSync(path, line);
    const logs: Method = {
      kind: "server-stream",
      async *handle() {
        throw new RuntimeError("resource-exhausted", "64 logs are being read");
      },
    };
    const methods = { ...statuses(path, () => running), "/davit.v1.Containers/Logs": logs };
    await assert.rejects(read(methods), { kind: "resource-exhausted" });
  });

  test("reads the file of another server, until its container has ended", async () => {
    const path = join(directory, "other.log");
    writeFileSync(path, line);
    assert.deepEqual(await read(statuses(path, () => running)), [shown]);
    let asked = 0;
    const stateOf = (): ContainerState => {
      asked += 1;
      if (asked < 3) return running;
      appendFileSync(path, line.replace("F a", "F b"));
      return exited;
    };
    const found = await read(statuses(path, stateOf), { follow: true });
    assert.deepEqual(found, [shown, shown.replace("F a", "F b")]);
    const gone = new RuntimeError("not-found", "it was removed");
    let isFirst = true;
    const removed = (): ContainerState | Error => {
      if (!isFirst) return gone;
      isFirst = false;
      return running;
    };
    assert.equal((await read(statuses(path, removed), { follow: true })).length, 2);
  });

  test("fails where the state of a followed container cannot be read", async () => {
    const path = join(directory, "state.log");
    writeFileSync(path, line);
    let isFirst = true;
    const failing = (): ContainerState | Error => {
      if (!isFirst) return new RuntimeError("unavailable", "the server ends");
      isFirst = false;
      return running;
    };
    const reading = read(statuses(path, failing), { follow: true });
    await assert.rejects(reading, { kind: "unavailable", message: /the server ends/ });
  });

  test("says why there is no log", async () => {
    await assert.rejects(read(statuses("", () => running)), /"web\/app": it has no log/);
    const path = join(directory, "none.log");
    const missing = read(statuses(path, () => running));
    await assert.rejects(missing, /none.log" not found: .*run davit logs where the server runs/);
  });
});
