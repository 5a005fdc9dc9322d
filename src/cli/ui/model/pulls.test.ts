import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Container, ContainerSchema } from "../../../gen/runtime/v1/api_pb.ts";
import { readHistory } from "../../../client/operations.ts";
import { pullsOf } from "./pulls.ts";

const image = "docker.io/library/web:1";
const digest = (letter: string): string => `sha256:${letter.repeat(64)}`;
const past = readHistory([
  {
    operation: "pull-layer",
    subject: digest("b"),
    startedMs: 1_200,
    tookMs: 900,
    stages: [{ stage: "unpack", atMs: 10 }],
    transfer: { image, bytes: 12_000_000, tookMs: 600 },
  },
  {
    operation: "pull-layer",
    subject: digest("a"),
    startedMs: 1_100,
    tookMs: 50,
    stages: [],
    error: "no room",
    transfer: { image, bytes: 0, tookMs: 0 },
  },
  {
    operation: "pull-layer",
    subject: digest("c"),
    startedMs: 1_100,
    tookMs: 50,
    stages: [],
    transfer: { image: "docker.io/library/other:1", bytes: 1, tookMs: 1 },
  },
  {
    operation: "pull-image",
    subject: image,
    startedMs: 1_000,
    tookMs: 2_000,
    stages: [
      { stage: "resolve", atMs: 0 },
      { stage: "fetch-layers", atMs: 100 },
      { stage: "answer", atMs: 2_000 },
    ],
  },
  {
    operation: "pull-image",
    subject: "docker.io/library/old:1",
    startedMs: 5,
    tookMs: 1,
    stages: [],
  },
] as never);

function container(id: string, createdMs: number, name = "web:1"): Container {
  const createdAt = BigInt(createdMs) * 1_000_000n;
  return create(ContainerSchema, { id, createdAt, image: { userSpecifiedImage: name } });
}

const find = (id: string) => ({
  podId: `pod of ${id}`,
  namespace: "default",
  pod: id,
  container: "",
});

test("pullsOf() has the layers of a pull, with their download, rest and size", () => {
  const [pull, ...more] = pullsOf(past ?? [], [], find, { sinceMs: 100, starts: [] });
  assert.deepEqual(more, []);
  assert.deepEqual(
    [pull?.kind, pull?.image, pull?.startedMs, pull?.tookMs],
    ["pull", image, 1_000, 2_000],
  );
  assert.deepEqual(
    pull?.operations.map(({ operation, container: of }) => [operation, of]),
    [
      ["pull-image", ""],
      ["pull-layer", "a".repeat(12)],
      ["pull-layer", `${"b".repeat(12)} 12.0MB`],
    ],
  );
  assert.deepEqual(pull.operations[2]?.phases, [
    { name: "download", kind: "pull", fromMs: 0, toMs: 600 },
    { name: "unpack", kind: "files", fromMs: 600, toMs: 900 },
  ]);
  assert.equal(pull.operations[1]?.error, "no room");
});

test("pullsOf() names the pod that waited for a pull, if that can be known", () => {
  const waiterOf = (...containers: Container[]): string | undefined =>
    pullsOf(past ?? [], containers, find, { sinceMs: 100, starts: [] })[0]?.name;
  assert.equal(waiterOf(), "");
  assert.equal(waiterOf(container("later", 4_000), container("first", 3_100)), "first");
  assert.equal(waiterOf(container("full", 3_100, image)), "full");
  assert.equal(waiterOf(container("before", 2_900)), "");
  assert.equal(waiterOf(container("long", 14_000)), "");
  assert.equal(waiterOf(container("other", 3_100, "other:1")), "");
});

test("pullsOf() names the pod that a pull was for, also one that has gone", () => {
  const pods = [{ namespace: "shop", name: "web", uid: "u1" }];
  const [pull] = (past ?? []).filter(({ operation, startedMs }) => {
    return operation === "pull-image" && startedMs === 1_000;
  });
  assert.ok(pull !== undefined);
  const named = [{ ...pull, pods }];
  const options = { sinceMs: 0, starts: [] };
  const [own] = pullsOf(named, [container("other", 3_100)], () => undefined, options);
  assert.deepEqual([own?.podId, own?.namespace, own?.name], ["", "shop", "web"]);
  const findPod = (subject: string) =>
    subject === "web_shop_u1_0"
      ? { podId: "p1", namespace: "shop", pod: "web", container: "" }
      : undefined;
  assert.equal(pullsOf(named, [], findPod, options)[0]?.podId, "p1");
});
