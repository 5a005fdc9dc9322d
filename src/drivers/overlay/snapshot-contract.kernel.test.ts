import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { describeSnapshots } from "../../core/snapshot/testing/snapshot-contract.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { erofsObstacle, sourceOf, TestOverlay } from "./testing/layers.ts";

const obstacle = await erofsObstacle();
if (obstacle !== false) test("layers of format erofs", { skip: obstacle });

for (const format of ["directory", "erofs"] as const) {
  if (format === "erofs" && obstacle !== false) continue;
  describeSnapshots(`overlay of layers of format ${format}`, async () => {
    const directory = mkdtempSync(join(tmpdir(), "davit-overlay-"));
    const overlay = await TestOverlay.open(directory, { format });
    assert.equal(overlay.layers.format, format);
    return {
      layers: overlay.layers,
      roots: overlay.roots,
      source: (text) => sourceOf(buildTar([{ name: "file", data: text }])),
      [Symbol.asyncDispose]: async () => {
        await overlay[Symbol.asyncDispose]();
        rmSync(directory, { recursive: true });
      },
    };
  });
}
