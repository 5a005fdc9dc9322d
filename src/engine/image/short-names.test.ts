import assert from "node:assert/strict";
import { test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import {
  type ImageNames,
  ImageStore,
  parseReference,
  shortNameOf,
} from "../../core/image/index.ts";
import { FakeEngine, FakeWorld, never } from "../testing/engine.ts";
import { explainPull } from "./explain.ts";
import { imageStatus, listImages } from "./list.ts";
import { loadImages } from "./load.ts";
import { pullImage } from "./pull.ts";
import { removeImage } from "./remove.ts";
import { saveImages } from "./save.ts";
import { tagImage } from "./tag.ts";

async function collect<T>(items: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = [];
  for await (const each of items) all.push(each);
  return all;
}

async function* bytes(): AsyncGenerator<Uint8Array> {
  yield Buffer.from("archive");
}

test("a pull by a short name records the name that it means, and both names find the image", async (t) => {
  const world = new FakeWorld(t);
  const alias = (text: string) =>
    parseReference(shortNameOf(text) === undefined ? text : `x.test/team/${text}`);
  const names: ImageNames = {
    referenceOf: alias,
    candidatesOf: (text) => [alias(text), parseReference(text)],
  };
  const store = new ImageStore(world.records.images, [], names);
  const engine = new FakeEngine(t, { world, images: { store } });
  const { id } = world.source.publish("x.test/team/app:v1", { layers: ["base"] });
  assert.equal(await pullImage(engine.images, { name: "app:v1", auth: undefined }, never), id);
  assert.deepEqual(imageStatus(engine.images, "app:v1")?.repoTags, ["x.test/team/app:v1"]);
  assert.equal(imageStatus(engine.images, "x.test/team/app:v1")?.id, id);
  assert.equal(imageStatus(engine.images, "docker.io/library/app:v1"), undefined);
  assert.equal(tagImage(engine.images, "app:v1", "app:v2").name, "x.test/team/app:v2");
});

test("a short name that no pull would take finds the image that an archive named", async (t) => {
  const world = new FakeWorld(t);
  const names: ImageNames = {
    referenceOf: (text) => {
      if (shortNameOf(text) === undefined) return parseReference(text);
      throw new RuntimeError("failed-precondition", `find the registry of "${text}": several`);
    },
    candidatesOf: (text) => ["a.test/", "b.test/", ""].map((host) => parseReference(host + text)),
  };
  const store = new ImageStore(world.records.images, [], names);
  const { images } = new FakeEngine(t, { world, images: { store } });
  world.archives.images = [{ names: ["app:1"], layers: ["base"] }];
  const [loaded] = await collect(loadImages(images, bytes(), {}, never));
  assert.deepEqual(imageStatus(images, "app:1")?.repoTags, ["docker.io/library/app:1"]);
  assert.deepEqual(
    listImages(images, "app:1").map(({ id }) => id),
    [loaded?.id],
  );
  const [saved] = await collect(saveImages(images, ["app:1"], never));
  assert.match(Buffer.from(saved ?? []).toString(), /"names":\["docker.io\/library\/app:1"\]/);
  assert.equal(tagImage(images, "app:1", "b.test/app:2").id, loaded?.id);
  assert.equal(imageStatus(images, "app:2")?.id, loaded?.id);

  const undecided = { kind: "failed-precondition" };
  const request = { name: "app:1", auth: undefined };
  await assert.rejects(pullImage(images, request, never), undecided);
  await assert.rejects(explainPull(images, request, never), undecided);
  assert.throws(() => tagImage(images, "app:1", "app:3"), undecided);
  await assert.rejects(collect(loadImages(images, bytes(), { name: "app:3" }, never)), undecided);

  await removeImage(images, "app:1");
  assert.equal(imageStatus(images, "app:1"), undefined);
});
