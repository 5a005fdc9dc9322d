import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { fileLayerId } from "../../base/file-layer.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { never, OverlayFixture } from "./testing/fixture.ts";
import { digestOf, sourceOf } from "./testing/layers.ts";

const fixture = new OverlayFixture();

function fileSource(blob: Buffer, path: string): LayerSource {
  return { ...sourceOf(blob), diffId: fileLayerId(digestOf(blob), path), file: path };
}

describe("a file of an artifact", () => {
  test("is the blob as it is, readable for all, in directories of root", async () => {
    const archive = gzipSync(buildTar([{ name: "inside", data: "x" }]));
    for (const [blob, path] of [
      [archive, "deep/er/\u00fc \u{1f600}.tar.gz"],
      [Buffer.alloc(0), "empty"],
      [Buffer.alloc(700_000, "abc"), ".wh"],
    ] as const) {
      const source = fileSource(blob, path);
      await fixture.layers.unpack(source, never);
      const files = fixture.filesOf(source.diffId);
      assert.ok(readFileSync(join(files, path)).equals(blob));
      for (let at: string = path; at !== "."; at = join(at, "..")) {
        const { mode, uid, gid, mtimeMs } = lstatSync(join(files, at));
        const isFile = at === path;
        assert.deepEqual([mode & 0o7777, uid, gid, mtimeMs], [isFile ? 0o644 : 0o755, 0, 0, 0]);
      }
    }
  });

  test("appears with the others of its artifact, and in directories of their own", async () => {
    const sources = ["a/one", "a/b/two", "three"].map((path) =>
      fileSource(Buffer.from(path), path),
    );
    for (const source of sources) await fixture.layers.unpack(source, never);
    const layers = sources.map(({ diffId }) => diffId);
    await fixture.layers.complete(layers, never);
    await fixture.roots.mount("c", []);
    const image = digestOf(Buffer.from("an artifact"));
    const all = { name: "model", image, layers, subPath: "" };
    await fixture.roots.mountImages("c", [all, { ...all, subPath: "a" }]);
    const found = (index: number): string => {
      const directory = fixture.roots.imageVolumeOf("c", index);
      return execFileSync("find", [".", "-type", "f"], { cwd: directory, encoding: "utf8" });
    };
    assert.deepEqual(found(0).trim().split("\n").sort(), ["./a/b/two", "./a/one", "./three"]);
    assert.deepEqual(found(1).trim().split("\n").sort(), ["./b/two", "./one"]);
    assert.equal(readdirSync(join(fixture.root, "layers")).length, 4);
  });

  test("with another digest, another path, or beyond a limit is refused, and nothing is left", async () => {
    const source = fileSource(Buffer.from("content"), "a/b");
    const blob = { ...source.blob, digest: digestOf(Buffer.from("other")) };
    await fixture.assertRefused(
      { ...source, blob },
      "data-loss",
      /write file "a\/b" of blob "sha256:\w+": digest mismatch/,
    );
    await fixture.assertRefused(
      { ...fileSource(Buffer.from("content"), "a/b"), file: "a/c" },
      "data-loss",
      /is not the layer that the image names/,
    );
    const limits = { bytes: { most: 6, why: "the limit" } };
    await fixture.assertRefused(
      { ...fileSource(Buffer.from("content"), "a/b"), limits },
      "failed-precondition",
      /write file "a\/b" .*: it has more than the limit/,
    );
    // The daemon refuses such paths before; the process could not reach anything by them either.
    await fixture.assertRefused(
      fileSource(Buffer.from("content"), "../../../evil"),
      "invalid-argument",
      /leads out of the layer/,
    );
    assert.ok(!existsSync(join(fixture.directory, "evil")));
  });
});
