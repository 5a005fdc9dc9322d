/** Images whose layers are built entry by entry, and what a container sees of them. */
import assert from "node:assert/strict";
import { type BuiltEntry, buildTar } from "../../../src/unpack/testing/tar-builder.ts";
import {
  closePod,
  container,
  createIn,
  type Node,
  openPod,
  pull,
  sh,
  start,
} from "./containers.ts";
import { bare } from "./pods.ts";
import { busyboxLayer, imageOf, type Layer, layerOfTar } from "../images.ts";

const base = busyboxLayer();
let count = 0;

/** A layer of these entries. */
export function oddLayer(...entries: readonly BuiltEntry[]): Layer {
  return layerOfTar(buildTar(entries));
}

/** Pushes an image of busybox and these layers, lowest first, and returns its name. */
export async function pushed(node: Node, ...layers: readonly Layer[]): Promise<string> {
  const tag = String(count++);
  await node.registry.push("t/odd", imageOf([base, ...layers]), [tag]);
  return `registry.k8s.io/t/odd:${tag}`;
}

/**
 * Expects that the pull of a pushed image fails. If busybox was unpacked before the other layer failed, its layer
 * is kept for 10 minutes (engine/image/sweep.ts). A pull of busybox follows, so that removing all images leaves
 * no layer.
 */
export async function assertRefused(
  node: Node,
  image: string,
  failure: (error: Error) => boolean,
): Promise<void> {
  await assert.rejects(pull(node.daemon, image), failure);
  await pull(node.daemon, await pushed(node));
}

/** Pulls an image and returns the output of a script in a container of it. */
export async function saidIn(node: Node, image: string, script: string): Promise<string> {
  await pull(node.daemon, image);
  const pod = await openPod(node.daemon, bare());
  try {
    const id = await createIn(pod, container({ image: { image } }));
    await start(node.daemon, id);
    return await sh(node.daemon, id, script);
  } finally {
    await closePod(pod);
  }
}
