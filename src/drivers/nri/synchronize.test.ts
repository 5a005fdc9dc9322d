import assert from "node:assert/strict";
import { test } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
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
    const parts = synchronizeParts({ pods: pods(count), containers: containers(count) }, limit);
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

test("synchronizeParts refuses an object that is too large by itself", () => {
  const large = create(PodSandboxSchema, { id: "big", annotations: { a: "x".repeat(100) } });
  assert.throws(
    () => synchronizeParts({ pods: [large], containers: [] }, 100),
    (error) => isKind(error, "resource-exhausted") && /"big" has 1\d\d bytes/.test(String(error)),
  );
});
