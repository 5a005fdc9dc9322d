/** Messages of 16 MiB whose decoding would take hundreds of megabytes. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import {
  ContainerConfigSchema,
  CreateContainerRequestSchema,
} from "../../src/gen/runtime/v1/api_pb.ts";
import { GrpcClient } from "../../src/wire/grpc/client.ts";
import { code, endDaemon, failsWith, startDaemon } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

const mebibyte = 1024 * 1024;
const bytes = 15 * mebibyte;
/** Each of these messages took from 200 to 1700 MiB. */
const allowedGrowth = 300 * mebibyte;

const { config } = CreateContainerRequestSchema.field;
const { args, mounts, labels } = ContainerConfigSchema.field;

/** Empty values of a field of the container's config, of two bytes each. */
function empties(number: number): Buffer {
  const length = Buffer.from([0x80 | (bytes & 0x7f), 0x80 | ((bytes >> 7) & 0x7f)]);
  const head = [(config.number << 3) | 2, ...length, 0x80 | ((bytes >> 14) & 0x7f), bytes >> 21];
  return Buffer.concat([
    Buffer.from(head),
    Buffer.alloc(bytes, Buffer.from([(number << 3) | 2, 0])),
  ]);
}

/** Entries of a map, each with another key. */
function entries(number: number): Buffer {
  const body = empties(number);
  const head = body.subarray(0, 5);
  const parts = Array.from({ length: bytes / 12 }, (_, i) =>
    Buffer.from(
      `${String.fromCharCode((number << 3) | 2)}\n\n\b${i.toString(16).padStart(8, "0")}`,
    ),
  );
  return Buffer.concat([head, ...parts]);
}

let daemon: TestDaemon;
before(async () => {
  daemon = await startDaemon();
});
after(async () => {
  await endDaemon(daemon);
});

const resident = (): number => {
  const status = readFileSync(`/proc/${daemon.pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
};

test("messages with many small fields are refused, and cost little more than their bytes", async () => {
  const before = resident();
  using client = new GrpcClient({ path: daemon.paths.socket });
  const version = "/runtime.v1.RuntimeService/Version";
  const createContainer = "/runtime.v1.RuntimeService/CreateContainer";
  const unknown = Buffer.alloc(bytes, Buffer.from([0x50, 1]));
  for (const [what, method, message] of [
    ["unknown numbers", version, unknown],
    ["empty strings", createContainer, empties(args.number)],
    ["empty messages", createContainer, empties(mounts.number)],
    ["entries of a map", createContainer, entries(labels.number)],
  ] as const) {
    const refused = failsWith(code.resourceExhausted, /too many fields and list items/);
    await assert.rejects(client.unary(method, message), refused, what);
    await daemon.client.runtime.version({});
  }
  const grown = resident() - before;
  assert.ok(grown < allowedGrowth, `${Math.round(grown / mebibyte)} MiB`);
});
