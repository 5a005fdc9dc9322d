import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import {
  ContainerSchema,
  PodSandboxSchema,
  SynchronizeRequestSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { synchronizeParts } from "./synchronize.ts";

const pods = (count: number) =>
  Array.from({ length: count }, (_, at) => create(PodSandboxSchema, { id: `pod-${at}` }));
const containers = (count: number) =>
  Array.from({ length: count }, (_, at) => create(ContainerSchema, { id: `c-${at}`, args: ["x"] }));

test("synchronizeParts makes as few messages as the limit allows, in order", () => {
  for (const [count, limit] of [
    [0, 100],
    [1, 100],
    [40, 30],
    [40, 31],
    [200, 1000],
    [200, 100_000],
  ] as const) {
    const parts = synchronizeParts(
      { pods: pods(count), containers: containers(count) },
      (why) => assert.ok(false, why),
      limit,
    );
    const seen: string[] = [];
    for (const [at, { bytes, more }] of parts.entries()) {
      assert.ok(bytes.length <= limit, `${bytes.length} of ${limit}`);
      const request = fromBinary(SynchronizeRequestSchema, bytes);
      assert.equal(more, at < parts.length - 1);
      assert.equal(request.more, more);
      seen.push(...request.pods.map(({ id }) => id), ...request.containers.map(({ id }) => id));
    }
    assert.deepEqual(
      seen,
      [...pods(count), ...containers(count)].map(({ id }) => id),
    );
    if (limit === 100_000) assert.equal(parts.length, 1);
  }
});

test("synchronizeParts leaves out an object that is too large by itself, and says so", () => {
  const large = create(PodSandboxSchema, { id: "big", annotations: { a: "x".repeat(100) } });
  const state = { pods: [...pods(1), large, ...pods(1)], containers: containers(1) };
  const leftOut: string[] = [];
  const parts = synchronizeParts(state, (why) => leftOut.push(why), 100);
  const seen = parts.flatMap(({ bytes }) => {
    const request = fromBinary(SynchronizeRequestSchema, bytes);
    return [...request.pods, ...request.containers].map(({ id }) => id);
  });
  assert.deepEqual(seen, ["pod-0", "pod-0", "c-0"]);
  assert.match(leftOut.join(), /^"big" has 1\d\d bytes, the limit of a message is 100$/);
});
