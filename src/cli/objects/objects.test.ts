import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { type Image, ImageSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { Server } from "../server/session.ts";
import { Objects } from "./objects.ts";

const image = (digit: string, ...repoTags: readonly string[]): Image =>
  create(ImageSchema, { id: `sha256:${digit.repeat(64)}`, repoTags: [...repoTags] });
const images = [
  image("a", "x.test/team/app:v1"),
  image("b", "x.test/team/app:v2"),
  image("c", "docker.io/library/busybox:latest"),
];

/** A server with an alias: "app" is x.test/team/app. */
function objects(asked: string[] = []): Objects {
  const imageStatus = async ({ image: { image: name } }: { image: { image: string } }) => {
    asked.push(name);
    if (name === "what?") throw new RuntimeError("invalid-argument", "not a name");
    const full = name.replace(/^app:/, "x.test/team/app:");
    return { image: images.find(({ repoTags }) => repoTags.includes(full)) };
  };
  const client = { image: { imageStatus, listImages: async () => ({ images }) } };
  return new Objects({ client, limit: () => ({}) } as unknown as Server);
}

const tagsOf = (found: readonly Image[]): readonly string[] =>
  found.flatMap(({ repoTags }) => repoTags);

test("Objects.findImages() finds a short name as the server does", async () => {
  assert.deepEqual(tagsOf(await objects().findImages("app:v1")), ["x.test/team/app:v1"]);
  assert.deepEqual(tagsOf(await objects().findImages("busybox")), [
    "docker.io/library/busybox:latest",
  ]);
  assert.deepEqual(await objects().findImages("what?"), []);
  assert.deepEqual(await objects().findImages("app:v3"), []);
});

test("Objects.findImages() asks the server for no id and no full name", async () => {
  const asked: string[] = [];
  assert.deepEqual(await objects(asked).findImages("aaaa"), images.slice(0, 1));
  assert.deepEqual(await objects(asked).findImages("x.test/team/app:v2"), images.slice(1, 2));
  assert.deepEqual(asked, []);
});

test("Objects.findRepository() finds all tags of an alias", async () => {
  assert.deepEqual(await objects().findRepository("app"), images.slice(0, 2));
  assert.deepEqual(await objects().findRepository("x.test/team/app"), images.slice(0, 2));
  assert.deepEqual(tagsOf(await objects().findRepository("app:v2")), ["x.test/team/app:v2"]);
  assert.deepEqual(await objects().findRepository("none"), []);
});
