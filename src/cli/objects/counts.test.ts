import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  ContainerSchema,
  ContainerState,
  type ContainerStatus,
  ContainerStatusSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { countContainers } from "./counts.ts";

const { CONTAINER_RUNNING: RUNNING, CONTAINER_EXITED: EXITED } = ContainerState;

function container(id: string, name: string, createdAt: bigint, state: ContainerState) {
  const metadata = { name, attempt: 0 };
  const made = create(ContainerSchema, { id, metadata, createdAt, state });
  return { container: made, pod: undefined };
}

function ended(
  ...ends: readonly (readonly [string, number, bigint])[]
): ReadonlyMap<string, ContainerStatus> {
  return new Map(
    ends.map(([id, exitCode, finishedAt]) => [
      id,
      create(ContainerStatusSchema, { id, exitCode, finishedAt }),
    ]),
  );
}

test("countContainers() counts running containers, and only the last attempt of each", () => {
  const twice = [container("a2", "web", 5n, RUNNING), container("a1", "web", 1n, EXITED)];
  assert.deepEqual(countContainers(twice, ended(["a1", 3, 4n])), {
    running: 1,
    all: 1,
    failed: false,
  });
  assert.deepEqual(countContainers(twice.toReversed(), ended(["a1", 3, 4n])).running, 1);
  const dead = [container("b", "web", 1n, EXITED)];
  assert.deepEqual(countContainers(dead, ended(["b", 3, 2n])), {
    running: 0,
    all: 1,
    failed: true,
  });
  assert.deepEqual(countContainers([], new Map()), { running: 0, all: 0, failed: false });
});

test("countContainers() ignores completed init containers", () => {
  const all = [
    container("i", "init", 1n, EXITED),
    container("m", "main", 3n, RUNNING),
    container("s", "side", 3n, EXITED),
  ];
  const counted = countContainers(all, ended(["i", 0, 2n], ["s", 0, 9n]));
  assert.deepEqual(counted, { running: 1, all: 2, failed: false });
  const failing = countContainers(all.slice(0, 1), ended(["i", 7, 2n]));
  assert.deepEqual(failing, { running: 0, all: 1, failed: true });
});
