/** Manifests and indexes of images and artifacts, and the choice of a platform, for bytes of a registry. */
import assert from "node:assert/strict";

import fc from "fast-check";

import { isDigest } from "../../../src/base/digest.ts";
import { candidatesOf } from "../../../src/drivers/registry/index-entries.ts";
import { parseManifest } from "../../../src/drivers/registry/manifest.ts";
import { attempt, type FuzzTarget, jsonSeeds } from "../target.ts";

const types = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
  "application/vnd.docker.distribution.manifest.v1+prettyjws",
  "application/json",
];
const [oci, index] = types;
const digest = `sha256:${"b".repeat(64)}`;
const layerType = "application/vnd.oci.image.layer.v1.tar+gzip";
const configType = "application/vnd.oci.image.config.v1+json";
const title = "org.opencontainers.image.title";

const descriptor = fc.record(
  {
    mediaType: fc.constantFrom(
      layerType,
      configType,
      "application/x",
      `${layerType}+encrypted`,
      "",
    ),
    digest: fc.constantFrom(digest, `sha256:${"c".repeat(64)}`, "sha256:1"),
    size: fc.oneof(fc.nat(), fc.constantFrom(-1, 2 ** 53, 1.5)),
    urls: fc.constantFrom([], ["https://a"]),
    annotations: fc.dictionary(
      fc.constantFrom(title, "org.cncf.model.filepath"),
      fc.constantFrom("a", "a/b", "../x", "/x", ".wh.x", "a\0", "", "./", "a//b", "é".repeat(200)),
    ),
    platform: fc.record({
      os: fc.constantFrom("linux", "windows", ""),
      architecture: fc.constantFrom("amd64", "arm64", "arm", ""),
      variant: fc.constantFrom("", "v1", "v3", "v8"),
    }),
  },
  { requiredKeys: ["mediaType", "digest", "size"] },
);
const manifest = fc.record(
  {
    schemaVersion: fc.constantFrom(2, 1),
    mediaType: fc.constantFrom(...types, "application/vnd.other", ""),
    artifactType: fc.constantFrom("", "application/vnd.model", "x\ny"),
    config: descriptor,
    layers: fc.array(descriptor, { maxLength: 4 }),
    manifests: fc.array(descriptor, { maxLength: 4 }),
  },
  { requiredKeys: [] },
);

function checkPaths(paths: readonly string[]): void {
  const all = new Set(paths);
  assert.equal(all.size, paths.length, "two files of one path");
  for (const path of paths) {
    for (const part of path.split("/")) {
      assert.ok(part !== "" && part !== "." && part !== ".." && !part.startsWith(".wh."), path);
      assert.ok(Buffer.byteLength(part) <= 255 && !/[\0-\x1f]/.test(part));
    }
    for (let at = path.indexOf("/"); at >= 0; at = path.indexOf("/", at + 1)) {
      assert.ok(!all.has(path.slice(0, at)), "a file is a directory, too");
    }
  }
}

export const target: FuzzTarget = {
  name: "image-manifest",
  seeds: () =>
    jsonSeeds(
      {
        schemaVersion: 2,
        config: { mediaType: configType, digest, size: 2 },
        layers: [{ mediaType: layerType, digest, size: 3 }],
      },
      {
        mediaType: index,
        manifests: [
          { mediaType: oci, digest, size: 1, platform: { os: "linux", architecture: "amd64" } },
        ],
      },
      {
        mediaType: oci,
        artifactType: "application/vnd.model",
        config: { mediaType: "application/vnd.oci.empty.v1+json", digest, size: 2 },
        layers: [{ mediaType: "a/b", digest, size: 1, annotations: { [title]: "d/f" } }],
      },
      { schemaVersion: 1, fsLayers: [] },
    ),
  words: [
    ...types.map((type) => `"${type}"`),
    `"${digest}"`,
    '"manifests":[',
    '"layers":[',
    `"${title}":"`,
  ],
  structured: manifest.map((value) => Buffer.from(JSON.stringify(value))),
  check: (input) => {
    for (const type of types) {
      const found = attempt(["unimplemented", "data-loss"], () => parseManifest(input, type));
      if (found?.kind === "index") {
        for (const { descriptor: each } of found.entries) assert.ok(isDigest(each.digest));
        const node = { os: "linux", architecture: "arm", variant: "v7" };
        const candidates = candidatesOf(found, node);
        assert.ok(candidates.every((one) => found.entries.includes(one)));
      } else if (found !== undefined) {
        for (const each of [found.config, ...found.layers]) {
          assert.ok(isDigest(each.digest) && each.sizeBytes >= 0n);
        }
        const { artifact } = found;
        if (artifact === undefined) continue;
        assert.equal(artifact.paths.length, found.layers.length);
        assert.ok(artifact.type.length <= 260 && !/[\0-\x1f]/.test(artifact.type));
        checkPaths(artifact.paths);
      }
    }
  },
};
