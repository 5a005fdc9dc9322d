// Archives for tests of the real reader, and a directory in which it receives them.
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../../../base/logger.ts";
import { bytesOf } from "../../../../base/unread-bytes.ts";
import {
  type ArchiveOptions,
  formatReference,
  type ImageArchive,
} from "../../../../core/image/index.ts";
import { type BuiltEntry, buildTar } from "../../../../unpack/testing/tar-builder.ts";
import { digestOf } from "../../manifest.ts";
import { Archives } from "../archives.ts";

export const never = new AbortController().signal;
export const linux = { os: "linux", architecture: "amd64", variant: "" };

export interface Fixture extends AsyncDisposable {
  readonly root: string;
  readonly archives: Archives;
  open(bytes: Buffer, options?: ArchiveOptions): Promise<ImageArchive>;
  /** Nothing of a received archive is left. */
  assertEmpty(): void;
}

export async function fixture(): Promise<Fixture> {
  const root = await mkdtemp(join(tmpdir(), "davit-archives-"));
  const archives = new Archives({ root, log: silentLogger, platform: linux });
  return {
    root,
    archives,
    open: (bytes, options = {}) => archives.open(pieces(bytes), options, never),
    assertEmpty: () => assert.deepEqual(readdirSync(join(root, "archives")), []),
    [Symbol.asyncDispose]: () => rm(root, { recursive: true, force: true }),
  };
}

async function* pieces(bytes: Buffer): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 1000) yield bytes.subarray(at, at + 1000);
}

export const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));
export const hex = (bytes: Buffer): string => digestOf(bytes).slice(7);
export const layer = buildTar([{ name: "file", data: "content" }]);
export const config = json({ rootfs: { diff_ids: [digestOf(layer)] } });
export const configName = `${hex(config)}.json`;

/** A docker archive with one image. */
export function docker(
  item: Readonly<Record<string, unknown>> = {},
  entries: readonly BuiltEntry[] = [{ name: "a/layer.tar", data: layer }],
): Buffer {
  const manifest = [{ Config: configName, RepoTags: ["app:1"], Layers: ["a/layer.tar"], ...item }];
  return buildTar([
    { name: "manifest.json", data: json(manifest) },
    { name: configName, data: config },
    ...entries,
  ]);
}

export const ociType = (kind: string): string => `application/vnd.oci.image.${kind}`;
export const blob = (bytes: Buffer): BuiltEntry => ({
  name: `blobs/sha256/${hex(bytes)}`,
  data: bytes,
});
export const descriptor = (mediaType: string, bytes: Buffer, more: object = {}): object => ({
  mediaType,
  digest: digestOf(bytes),
  size: bytes.length,
  ...more,
});
export const manifest = json({
  schemaVersion: 2,
  config: descriptor(ociType("config.v1+json"), config),
  layers: [descriptor(ociType("layer.v1.tar"), layer)],
});
export const manifestType = ociType("manifest.v1+json");
export const indexType = ociType("index.v1+json");

/** An OCI layout with these entries in its index. */
export function layout(
  entries: readonly object[],
  blobs: readonly Buffer[] = [manifest, config, layer],
): Buffer {
  return buildTar([
    { name: "oci-layout", data: '{"imageLayoutVersion":"1.0.0"}' },
    { name: "index.json", data: json({ schemaVersion: 2, manifests: entries }) },
    ...blobs.map(blob),
  ]);
}

export const named = (name: string): object => ({
  annotations: { "org.opencontainers.image.ref.name": name },
});

export async function read(archive: ImageArchive, at = 0): Promise<Buffer> {
  const [first] = archive.images[at]?.layers ?? [];
  assert.ok(first);
  await using stream = await archive.blob(first);
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream.chunks) chunks.push(await bytesOf(chunk));
  return Buffer.concat(chunks);
}

export const namesOf = (archive: ImageArchive): readonly (readonly string[])[] =>
  archive.images.map(({ names }) => names.map(formatReference));
