import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeSnapshots } from "../../core/snapshot/testing/snapshot-contract.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { sourceOf, TestOverlay } from "./testing/layers.ts";

describeSnapshots("overlay", async () => {
  const directory = mkdtempSync(join(tmpdir(), "davit-overlay-"));
  const overlay = await TestOverlay.open(directory);
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
