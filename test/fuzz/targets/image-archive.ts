/** Archives of `docker save` and OCI layouts: the files in them, and the images that they describe. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";

import fc from "fast-check";

import type { Digest } from "../../../src/base/digest.ts";
import type { ArchivedImage } from "../../../src/core/image/index.ts";
import { ArchiveContent } from "../../../src/drivers/registry/archive/content.ts";
import { readDockerArchive } from "../../../src/drivers/registry/archive/docker-archive.ts";
import { readOciLayout } from "../../../src/drivers/registry/archive/oci-layout.ts";
import type { ReceivedFile } from "../../../src/drivers/registry/archive/receive.ts";
import { attemptAsync, type FuzzTarget, jsonSeeds } from "../target.ts";

const kinds = [
  "invalid-argument",
  "failed-precondition",
  "not-found",
  "data-loss",
  "unimplemented",
  "unavailable",
] as const;

/** An archive is a JSON object: texts are files by their names, and a text that begins with "->" is a link. */
type Entries = Readonly<Record<string, unknown>>;

const digestOf = (bytes: Buffer): Digest =>
  `sha256:${createHash("sha256").update(bytes).digest("hex")}`;

/** The content of an archive in memory. */
class MemoryContent extends ArchiveContent {
  readonly #bytes: readonly Buffer[];

  constructor(entries: Entries) {
    const files = new Map<string, ReceivedFile>();
    const links = new Map<string, string>();
    const bytes: Buffer[] = [];
    for (const [name, value] of Object.entries(entries)) {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      if (text.startsWith("->")) {
        links.set(`/${name}`, text.slice(2));
        continue;
      }
      const content = Buffer.from(text);
      const digest = digestOf(content);
      files.set(`/${name.replace("DIGEST", digest.slice(7))}`, {
        file: bytes.length,
        sizeBytes: content.length,
        digest,
      });
      bytes.push(content);
    }
    super("/nowhere", { kind: "files", files, links });
    this.#bytes = bytes;
  }

  override async read(file: ReceivedFile, what: string, maxBytes: number): Promise<Buffer> {
    assert.ok(maxBytes <= 8 * 1024 * 1024, what);
    return this.#bytes[file.file] ?? Buffer.alloc(0);
  }
}

function checkImages(images: readonly ArchivedImage[]): void {
  assert.ok(images.length <= 1000);
  for (const { names, config, layers } of images) {
    for (const { tag, digest } of names) assert.ok(tag !== undefined && digest === undefined);
    for (const each of [config, ...layers]) assert.match(each.digest, /^sha256:[0-9a-f]{64}$/);
  }
}

const layer = "layer";
const config = JSON.stringify({
  os: "linux",
  architecture: "amd64",
  rootfs: { diff_ids: [digestOf(Buffer.from(layer))] },
});
const ociConfig = "application/vnd.oci.image.config.v1+json";
const ociLayer = "application/vnd.oci.image.layer.v1.tar";
const ociManifest = "application/vnd.oci.image.manifest.v1+json";
const about = (text: string, mediaType: string): object => ({
  mediaType,
  digest: digestOf(Buffer.from(text)),
  size: Buffer.byteLength(text),
});
const manifest = JSON.stringify({
  schemaVersion: 2,
  config: about(config, ociConfig),
  layers: [about(layer, ociLayer)],
});

function layout(index: unknown): Entries {
  return {
    "oci-layout": { imageLayoutVersion: "1.0.0" },
    "index.json": index,
    "blobs/sha256/DIGEST": manifest,
    "./blobs/sha256/DIGEST": config,
    "blobs/sha256//DIGEST": layer,
    [`blobs/sha256/${digestOf(Buffer.from(manifest)).slice(7)}`]: manifest,
    [`blobs/sha256/${digestOf(Buffer.from(config)).slice(7)}`]: config,
    [`blobs/sha256/${digestOf(Buffer.from(layer)).slice(7)}`]: layer,
  };
}

const annotated = fc.record({
  entry: fc.constant(about(manifest, ociManifest)),
  platform: fc.constantFrom(
    undefined,
    { os: "linux", architecture: "amd64" },
    { os: "linux", architecture: "s390x" },
  ),
  annotations: fc.dictionary(
    fc.constantFrom("io.containerd.image.name", "org.opencontainers.image.ref.name"),
    fc.constantFrom(
      "a.example/x:1",
      "latest",
      "docker.io/library/y",
      "#0",
      "A",
      `x@sha256:${"0".repeat(64)}`,
    ),
  ),
});
const archives = fc.oneof(
  fc.array(annotated, { maxLength: 4 }).map((entries) =>
    layout({
      schemaVersion: 2,
      manifests: entries.map(({ entry, ...more }) => ({ ...entry, ...more })),
    }),
  ),
  fc
    .array(
      fc.record({
        Config: fc.constantFrom("c.json", "link", "loop", "missing", `${"0".repeat(64)}.json`),
        RepoTags: fc.constantFrom(null, ["a:1"], ["a"], [`a@sha256:${"1".repeat(64)}`], "a", [1]),
        Layers: fc.constantFrom(
          null,
          [],
          ["l/layer.tar"],
          ["link"],
          ["../l/layer.tar"],
          ["blobs/sha256/" + "0".repeat(64)],
        ),
      }),
      { maxLength: 3 },
    )
    .map((images) => ({
      "manifest.json": images,
      "c.json": config,
      "l/layer.tar": layer,
      link: "->/l/layer.tar",
      loop: "->/loop",
    })),
);

export const target: FuzzTarget = {
  name: "image-archive",
  seeds: () =>
    jsonSeeds(
      layout({
        schemaVersion: 2,
        manifests: [
          {
            ...about(manifest, ociManifest),
            annotations: { "io.containerd.image.name": "docker.io/library/x:1" },
          },
        ],
      }),
      {
        "manifest.json": [{ Config: "c.json", RepoTags: ["x:1"], Layers: ["l"] }],
        "c.json": config,
        l: "->/m",
        m: layer,
      },
    ),
  words: [
    '"manifests":[',
    '"annotations":{',
    '"RepoTags":[',
    '"->/',
    "imageLayoutVersion",
    '"platform":{"os":"linux","architecture":"amd64"}',
  ],
  structured: archives.map((entries) => Buffer.from(JSON.stringify(entries))),
  check: async (input) => {
    let entries: unknown;
    try {
      entries = JSON.parse(input.toString("utf8"));
    } catch {
      return;
    }
    if (typeof entries !== "object" || entries === null || Array.isArray(entries)) return;
    const content = new MemoryContent(entries as Entries);
    const node = { os: "linux", architecture: "amd64", variant: "" };
    checkImages((await attemptAsync(kinds, () => readOciLayout(content, node))) ?? []);
    checkImages((await attemptAsync(kinds, () => readDockerArchive(content))) ?? []);
  },
};
