import assert from "node:assert/strict";
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

import type { OciSpec } from "../../../core/oci/index.ts";
import { checkImages } from "./check-images.ts";
import { maxImageBytes } from "./images/image-file.ts";
import { readImage } from "./read-image.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-images-"));
after(() => rmSync(directory, { recursive: true }));

/** A sparse file: whoever makes a checkpoint gives it any size. */
function huge(name: string): string {
  const path = join(directory, name);
  const fd = openSync(path, "w");
  ftruncateSync(fd, 10 * 2 ** 30);
  closeSync(fd);
  return path;
}

test("readImage() reads no more than a parser needs to refuse the file", async () => {
  assert.equal((await readImage(huge("utsns-1.img"))).length, maxImageBytes + 1);
});

test("checkImages() refuses images that have too many bytes together", async () => {
  for (let at = 1; at <= 65; at++) huge(`core-${at}.img`);
  const spec = { linux: {}, mounts: [], root: { path: "/" } } as unknown as OciSpec;
  await assert.rejects(checkImages(directory, spec), {
    kind: "resource-exhausted",
    message: /more than 268435456 bytes/,
  });
});
