import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import type { Digest } from "../../base/digest.ts";
import { type Container, ContainerStore } from "../../core/container/index.ts";
import { type Image, ImageStore } from "../../core/image/index.ts";
import {
  ImageStatusRequestSchema,
  ListImagesRequestSchema,
  StreamImagesRequestSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import type { CriContext } from "../context.ts";
import { imageStatus } from "./image-status.ts";
import { listImages } from "./list-images.ts";
import { streamImages } from "./stream-images.ts";

const nothing = { load: () => [], put: () => undefined, delete: () => undefined };

const idOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`;

function imageOf(name: string, digit: string): Image {
  return {
    id: idOf(digit),
    repoTags: [`docker.io/library/${name}:latest`],
    repoDigests: [],
    sizeBytes: 1n,
    layers: [],
    config: { user: "" } as Image["config"],
    configJson: "{}",
    pinned: false,
  };
}

/** A node with the images "program", "model" and "kept", of which the configuration pins the last. */
function node() {
  const images = new ImageStore(nothing, ["kept"]);
  images.put(imageOf("program", "a"));
  images.put(imageOf("model", "b"));
  images.put(imageOf("kept", "c"));
  const containers = new ContainerStore(nothing);
  const snapshots = new Set<string>();
  const context = {
    images: { store: images, onUsed: () => undefined, neededBySnapshots: () => snapshots },
    containers: { store: containers },
  } as unknown as CriContext;
  /** The pinned images, which all three calls agree on. */
  const pinned = (): string => {
    const named = (image: { readonly repoTags?: string[]; readonly pinned?: boolean }): string[] =>
      image.pinned === true ? (image.repoTags ?? []) : [];
    const listed = listImages(context, create(ListImagesRequestSchema)).images ?? [];
    const streamed = [...streamImages(context, create(StreamImagesRequestSchema))];
    const asked = ["program", "model", "kept"].map((image) =>
      imageStatus(context, create(ImageStatusRequestSchema, { image: { image } })),
    );
    const names = listed.flatMap(named);
    assert.deepEqual(streamed.flatMap((each) => each.images ?? []).flatMap(named), names);
    assert.deepEqual(
      asked.flatMap(({ image }) => (image === undefined ? [] : named(image))),
      names,
    );
    return names.map((name) => name.replace(/^.*\/|:.*$/g, "")).join();
  };
  return { images, containers, snapshots, pinned };
}

test("the images of image volumes are pinned until their containers are removed", () => {
  const { images, containers, pinned } = node();
  assert.equal(pinned(), "kept");
  for (const id of ["one", "two"]) {
    containers.add({
      id,
      name: id,
      sandboxId: "pod",
      image: { id: idOf("a") },
      imageVolumes: [{ image: idOf("b"), layers: [] }],
      state: { name: "creating" },
    } as unknown as Container);
  }
  assert.equal(pinned(), "model,kept");
  containers.list("one");
  for (const name of ["created", "exited"]) {
    const state = { name } as unknown as Container["state"];
    containers.update("one", (now) => ({ ...now, state }));
  }
  containers.remove("two");
  assert.equal(pinned(), "model,kept");
  assert.equal(images.find("model")?.pinned, false, "the record is as it was");
  containers.remove("one");
  assert.equal(pinned(), "kept");
});

test("the images of snapshots are pinned until the last of these is removed", () => {
  const { snapshots, pinned } = node();
  snapshots.add(idOf("a"));
  assert.equal(pinned(), "program,kept");
  snapshots.clear();
  assert.equal(pinned(), "kept");
});
