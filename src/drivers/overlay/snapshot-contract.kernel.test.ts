import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeSnapshots } from "../../core/snapshot/testing/snapshot-contract.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { sourceOf, TestOverlay } from "./testing/layers.ts";

for (const format of ["directory", "erofs"] as const) {
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
