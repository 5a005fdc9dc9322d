import assert from "node:assert/strict";
import { test } from "node:test";

import { ImageStore, parseReference, shortNameOf } from "../../core/image/index.ts";
import { FakeEngine, FakeWorld, never } from "../testing/engine.ts";
import { imageStatus } from "./list.ts";
import { pullImage } from "./pull.ts";
import { tagImage } from "./tag.ts";

test("a pull by a short name records the name that it means, and both names find the image", async (t) => {
  const world = new FakeWorld(t);
  const alias = (text: string) =>
    parseReference(shortNameOf(text) === undefined ? text : `x.test/team/${text}`);
  const store = new ImageStore(world.records.images, [], alias);
  const engine = new FakeEngine(t, { world, images: { store } });
  const { id } = world.source.publish("x.test/team/app:v1", { layers: ["base"] });
  assert.equal(await pullImage(engine.images, { name: "app:v1", auth: undefined }, never), id);
  assert.deepEqual(imageStatus(engine.images, "app:v1")?.repoTags, ["x.test/team/app:v1"]);
  assert.equal(imageStatus(engine.images, "x.test/team/app:v1")?.id, id);
  assert.equal(imageStatus(engine.images, "docker.io/library/app:v1"), undefined);
  assert.equal(tagImage(engine.images, "app:v1", "app:v2").name, "x.test/team/app:v2");
});
