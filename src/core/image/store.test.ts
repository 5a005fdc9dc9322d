import assert from "node:assert/strict";
import { test } from "node:test";
import type { Digest } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import type { RecordTable } from "../store/index.ts";
import type { Image } from "./image.ts";
import { parseReference } from "./reference.ts";
import { type ImageNames, ImageStore } from "./store.ts";

const id = (digit: string): Digest => `sha256:${digit.repeat(64)}`;

function image(digit: string, names: Partial<Pick<Image, "repoTags" | "repoDigests">>): Image {
  return {
    id: id(digit),
    repoTags: [],
    repoDigests: [],
    sizeBytes: 1n,
    layers: [],
    config: {
      entrypoint: [],
      cmd: [],
      env: [],
      workingDir: "",
      user: "",
      stopSignal: "",
      volumes: [],
      labels: {},
    },
    configJson: "{}",
    pinned: false,
    ...names,
  };
}

function records(): RecordTable<Image> & { readonly kept: Map<string, Image> } {
  const kept = new Map<string, Image>();
  return {
    kept,
    load: () => [...kept.values()],
    put: (one) => {
      kept.set(one.id, one);
    },
    delete: (one) => {
      kept.delete(one);
    },
  };
}

test("find() knows an image by id, short id, tag, name without tag, and digest", () => {
  const store = new ImageStore(records());
  const repoDigests = [`docker.io/library/busybox@${id("d")}`];
  store.put(image("a", { repoTags: ["docker.io/library/busybox:latest"], repoDigests }));
  for (const name of [id("a"), "aaaa", "busybox", "busybox:latest", `busybox@${id("d")}`]) {
    assert.equal(store.find(name)?.id, id("a"), name);
  }
  assert.equal(store.find("busybox:other"), undefined);
  assert.equal(store.find(id("b")), undefined);
});

test("find() takes the prefix of an id with its algorithm as it takes it without", () => {
  const store = new ImageStore(records());
  store.put({ ...image("a", {}), id: `sha256:ab${"0".repeat(62)}` });
  store.put({ ...image("a", {}), id: `sha256:ab${"1".repeat(62)}` });
  assert.equal(store.find("sha256:ab0")?.id, `sha256:ab${"0".repeat(62)}`);
  assert.equal(store.find("sha256:abc"), undefined);
  assert.throws(
    () => store.find("sha256:ab"),
    (error) => isKind(error, "invalid-argument") && /sha256:ab/.test(String(error)),
  );
  // A name is looked up first, as without the algorithm.
  store.put(image("c", { repoTags: ["docker.io/library/sha256:ab1"] }));
  assert.equal(store.find("sha256:ab1")?.id, id("c"));
});

test("find() refuses an empty name and a beginning of several ids", () => {
  const store = new ImageStore(records());
  store.put({ ...image("a", {}), id: `sha256:ab${"0".repeat(62)}` });
  store.put({ ...image("a", {}), id: `sha256:ab${"1".repeat(62)}` });
  assert.throws(
    () => store.find(""),
    (error) => isKind(error, "invalid-argument"),
  );
  assert.throws(
    () => store.find("ab"),
    (error) => isKind(error, "invalid-argument"),
  );
  assert.equal(store.find("ab0")?.id, `sha256:ab${"0".repeat(62)}`);
  store.put(image("c", { repoTags: ["docker.io/library/ab0:latest"] }));
  assert.equal(store.find("ab0")?.id, id("c"));
});

test("put() moves a tag to the newer image, also in the database, and keeps an image's other names", () => {
  const disk = records();
  const store = new ImageStore(disk);
  store.put(image("a", { repoTags: ["docker.io/library/x:1", "docker.io/library/x:2"] }));
  store.put(image("b", { repoTags: ["docker.io/library/x:1"] }));
  assert.equal(store.find("x:1")?.id, id("b"));
  assert.deepEqual(store.find(id("a"))?.repoTags, ["docker.io/library/x:2"]);
  assert.deepEqual(disk.kept.get(id("a"))?.repoTags, ["docker.io/library/x:2"]);
  store.put(image("a", { repoTags: ["docker.io/library/y:1"] }));
  assert.deepEqual(store.find(id("a"))?.repoTags, [
    "docker.io/library/x:2",
    "docker.io/library/y:1",
  ]);
});

test("remove() removes all names; load() restores the stored images", () => {
  const disk = records();
  const store = new ImageStore(disk);
  store.put(image("a", { repoTags: ["docker.io/library/x:1", "docker.io/library/x:2"] }));
  store.put(image("b", { repoTags: ["docker.io/library/z:1"] }));
  store.remove(id("a"));
  assert.equal(store.find("x:1"), undefined);
  assert.equal(store.find("x:2"), undefined);
  const later = new ImageStore(disk);
  later.load();
  assert.deepEqual(
    [...later.all()].map((one) => one.id),
    [id("b")],
  );
  assert.equal(later.find("z:1")?.id, id("b"));
});

test("an image is pinned by its names and the configuration of the day", () => {
  const disk = records();
  const first = new ImageStore(disk, ["busybox"]);
  const tag = "docker.io/library/busybox:latest";
  assert.equal(first.put(image("a", { repoTags: [tag] })).pinned, true);
  assert.equal(first.put(image("b", { repoTags: ["docker.io/library/other:1"] })).pinned, false);
  const later = new ImageStore(disk, ["other:1"]);
  later.load();
  assert.equal(later.find("busybox")?.pinned, false);
  assert.equal(later.find("other:1")?.pinned, true);
});

/** The names of a node with an alias for "app" and two registries that are searched. */
const searching: ImageNames = {
  referenceOf: () => {
    throw new Error("several registries");
  },
  candidatesOf: (text) => {
    if (text.includes(".")) return [parseReference(text)];
    const searched = [`a.test/${text}`, `b.test/${text}`, text].map(parseReference);
    return text.startsWith("app") ? [parseReference(`x.test/team/${text}`), ...searched] : searched;
  },
};

test("find() takes the first candidate of a short name that is here, without what a pull would take", () => {
  const store = new ImageStore(records(), [], searching);
  const found = (text: string): string | undefined => store.find(text)?.id;
  assert.equal(found("app:v1"), undefined);
  for (const [digit, tag] of [
    ["a", "docker.io/library/app:v1"],
    ["b", "b.test/app:v1"],
    ["c", "a.test/app:v1"],
    ["d", "x.test/team/app:v1"],
  ] as const) {
    store.put(image(digit, { repoTags: [tag] }));
    assert.equal(found("app:v1"), id(digit), tag);
    assert.equal(store.nameOf("app:v1"), tag);
  }
  assert.equal(found("docker.io/library/app:v1"), id("a"));
  store.remove(id("d"));
  assert.equal(found("app:v1"), id("c"));
  assert.equal(found("other:v1"), undefined);
  assert.equal(store.nameOf("other:v1"), undefined);
  assert.equal(found("aaaa"), id("a"), "a prefix of an id");
  assert.equal(found("sha256:bb"), id("b"));
  assert.throws(() => store.referenceOf("app:v1"), /several registries/);
});

test("a pinned short name pins each of its candidates", () => {
  const store = new ImageStore(records(), ["app:v1"], searching);
  for (const tag of ["docker.io/library/app:v1", "b.test/app:v1", "x.test/team/app:v1"]) {
    assert.equal(store.put(image("a", { repoTags: [tag] })).pinned, true, tag);
    store.remove(id("a"));
  }
  assert.equal(store.put(image("b", { repoTags: ["c.test/app:v1"] })).pinned, false);
});
