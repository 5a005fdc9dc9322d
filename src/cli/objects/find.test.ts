import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  type Container,
  ContainerSchema,
  type Image,
  ImageSchema,
  type PodSandbox,
  PodSandboxSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { findContainers, findImages, findPods, joinPods } from "./find.ts";

function pod(id: string, path: string, createdAt = 1n, uid = id): PodSandbox {
  const [namespace = "", name = ""] = path.split("/");
  return create(PodSandboxSchema, { id, metadata: { name, namespace, uid }, createdAt });
}

function container(id: string, podSandboxId: string, name: string, createdAt = 1n): Container {
  return create(ContainerSchema, { id, podSandboxId, metadata: { name }, createdAt });
}

function image(id: string, ...repoTags: string[]): Image {
  return create(ImageSchema, { id: `sha256:${id}`, repoTags });
}

const ids = (items: readonly { readonly id: string }[]): readonly string[] =>
  items.map(({ id }) => id);

describe("findPods()", () => {
  const pods = [pod("abc1", "default/web"), pod("abd2", "other/web"), pod("ffff", "default/abc")];

  test("accepts ids, names, names with a namespace, and prefixes of ids", () => {
    assert.deepEqual(ids(findPods("abc1", pods)), ["abc1"]);
    assert.deepEqual(ids(findPods("other/web", pods)), ["abd2"]);
    assert.deepEqual(ids(findPods("web", pods)), ["abc1", "abd2"]);
    assert.deepEqual(ids(findPods("abd", pods)), ["abd2"]);
    assert.deepEqual(ids(findPods("ab", pods)), ["abc1", "abd2"]);
  });

  test("prefers a name to the prefix of an id, and rejects prefixes of one letter", () => {
    assert.deepEqual(ids(findPods("abc", pods)), ["ffff"]);
    assert.deepEqual(ids(findPods("f", pods)), []);
    assert.deepEqual(ids(findPods("default/nope", pods)), []);
  });

  test("returns the last attempt of a pod", () => {
    const runs = [pod("a1", "default/web", 1n, "uid"), pod("a2", "default/web", 2n, "uid")];
    assert.deepEqual(ids(findPods("web", runs)), ["a2"]);
    assert.deepEqual(ids(findPods("web", runs.toReversed())), ["a2"]);
  });
});

test("findContainers() accepts NAME, POD/NAME and NAMESPACE/POD/NAME", () => {
  const all = joinPods(
    [
      container("c111", "p1", "app", 1n),
      container("c222", "p1", "app", 2n),
      container("c333", "p2", "app"),
      container("c444", "gone", "lost"),
    ],
    [pod("p1", "default/web"), pod("p2", "other/web")],
  );
  const found = (word: string): readonly string[] =>
    ids(findContainers(word, all).map((each) => each.container));
  assert.deepEqual(found("app"), ["c222", "c333"]);
  assert.deepEqual(found("web/app"), ["c222", "c333"]);
  assert.deepEqual(found("default/web/app"), ["c222"]);
  assert.deepEqual(found("c111"), ["c111"], "an older run by its id");
  assert.deepEqual(found("c3"), ["c333"]);
  assert.deepEqual(found("lost"), ["c444"]);
  assert.deepEqual(found("web"), []);
});

test("findImages() expands names as Docker does", () => {
  const all = [
    image("aaaa", "docker.io/library/busybox:latest", "docker.io/library/busybox:1.37"),
    image("bbbb", "registry.k8s.io/pause:3.9"),
    image("cccc", "docker.io/org/app:latest", "localhost:5000/app:1"),
  ];
  const found = (word: string): readonly string[] => ids(findImages(word, all));
  for (const word of [
    "busybox",
    "busybox:1.37",
    "docker.io/library/busybox",
    "aaaa",
    "sha256:aaaa",
  ]) {
    assert.deepEqual(found(word), ["sha256:aaaa"], word);
  }
  assert.deepEqual(found("busybox:2"), []);
  assert.deepEqual(found("registry.k8s.io/pause:3.9"), ["sha256:bbbb"]);
  assert.deepEqual(found("org/app"), ["sha256:cccc"]);
  assert.deepEqual(found("localhost:5000/app:1"), ["sha256:cccc"]);
  assert.deepEqual(found("localhost:5000/app"), []);
  assert.deepEqual(found("bb"), ["sha256:bbbb"]);
});
