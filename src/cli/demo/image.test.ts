import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { busyboxImage, digestOf } from "./image.ts";

interface Manifest {
  readonly config: { readonly digest: string; readonly size: number };
  readonly layers: readonly { readonly digest: string }[];
}

test("busyboxImage() makes an image with correct digests", () => {
  const image = busyboxImage(Buffer.from("a program"), "amd64");
  const manifest = JSON.parse(image.manifest.toString()) as Manifest;
  const config = image.blobs.get(manifest.config.digest);
  const layer = image.blobs.get(manifest.layers[0]?.digest ?? "");
  assert.ok(config !== undefined && layer !== undefined);
  assert.equal(config.length, manifest.config.size);
  const { rootfs } = JSON.parse(config.toString()) as { rootfs: { diff_ids: string[] } };
  const tar = gunzipSync(layer);
  assert.deepEqual(rootfs.diff_ids, [digestOf(tar)]);
  assert.equal(tar.length % 512, 0);
  assert.equal(tar.subarray(257, 262).toString(), "ustar");
});
