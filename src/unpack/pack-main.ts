/**
 * Writes archives of images in a process of its own: `pack LAYERS`. It reads a plan from stdin, changes its root to
 * the directory of the layers (chroot), and writes to stdout one archive that is a docker archive and an OCI layout
 * at once. `plain` writes the archives of the layers alone, one after the other. `digest LAYERS` reads the same layers,
 * and writes a line of JSON with the digest of each. `changes` writes what a container changed in its root, see changes-main.ts, and `files` an archive of named files, see files-main.ts.
 *
 * The digest of a layer is in names at the beginning of the archive, so each layer is read twice: this needs no
 * space on the disk.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeSync } from "node:fs";
import process from "node:process";

import { kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import { errnoCode, systemError } from "../base/system-error.ts";
import { preparePipe } from "../linux/file/index.ts";
import { enterConfinement } from "../linux/process/index.ts";
import { writeChanges } from "./changes-main.ts";
import { writeFiles } from "./files-main.ts";
import { LayerPacker, type PackedLayer } from "./layer-packer.ts";
import { archiveEnd, headersOf, paddingOf } from "./tar-writer.ts";

/** An image to write. */
export interface PackedImage {
  /** Full names with a tag. */
  readonly names: readonly string[];
  readonly configJson: string;
  /** Indexes in the plan's layers, lowest first. */
  readonly layers: readonly number[];
}

/** What to write. */
export interface PackPlan {
  readonly layers: readonly PackedLayer[];
  readonly images: readonly PackedImage[];
}

interface Blob {
  readonly digest: string;
  readonly size: number;
}

const [STDIN, STDOUT] = [0, 1];
const PIPE = 1024 * 1024;
const ociType = (kind: string): string => `application/vnd.oci.image.${kind}`;

const modes = ["pack", "plain", "digest", "changes", "files"] as const;

type PackMode = (typeof modes)[number];

/** Whether this process is to pack. */
export function isPackMode(mode: string | undefined): mode is PackMode {
  return modes.some((each) => each === mode);
}

/** Packs and returns the exit code. The reason of a failure is one line of JSON on stderr. */
export function runPacker(mode: PackMode): number {
  try {
    preparePipe(STDIN, PIPE);
    const plan: unknown = JSON.parse(readFileSync(STDIN, "utf8"));
    createHash("sha256").update("x").digest("hex"); // loads libraries before chroot
    messageOf(new RuntimeError("unknown", "x"));
    preparePipe(STDOUT, PIPE);
    enterConfinement("packer");
    packers[mode](plan as never);
    return 0;
  } catch (cause) {
    const error = errnoCode(cause) === undefined ? cause : systemError("write archive", cause);
    process.stderr.write(`${JSON.stringify({ error: messageOf(error), kind: kindOf(error) })}\n`);
    return 1;
  }
}

const packers = {
  pack: writeArchive,
  plain: ({ layers }: PackPlan): void => {
    for (const layer of layers) new LayerPacker(layer, write).pack();
  },
  digest: writeDigests,
  changes: writeChanges,
  files: writeFiles,
} as const satisfies Readonly<Record<PackMode, (plan: never) => void>>;

function writeDigests({ layers }: PackPlan): void {
  for (const layer of layers) write(Buffer.from(`${JSON.stringify(blobOf(layer))}\n`));
}

function writeArchive({ layers, images }: PackPlan): void {
  const packed = layers.map(blobOf);
  const written = images.map((image) => documentsOf(image, packed));
  writeFile("oci-layout", json({ imageLayoutVersion: "1.0.0" }));
  const entries = written.flatMap(({ entries: each }) => each);
  writeFile(
    "index.json",
    json({ schemaVersion: 2, mediaType: ociType("index.v1+json"), manifests: entries }),
  );
  writeFile("manifest.json", json(written.map(({ docker }) => docker)));
  const done = new Set<string>();
  const once = (digest: string, work: (name: string) => void): void => {
    if (done.has(digest)) return;
    done.add(digest);
    work(nameOf(digest));
  };
  for (const { config, manifest } of written) {
    for (const bytes of [config, manifest]) once(digestOf(bytes), (name) => writeFile(name, bytes));
  }
  for (const [at, layer] of layers.entries()) {
    const blob = packed[at];
    if (blob !== undefined) once(blob.digest, (name) => writeLayer(name, layer, blob));
  }
  write(archiveEnd);
}

/** The config, the manifest and the entries of an image. Its diff ids are those of the packed layers. */
function documentsOf({ names, configJson, layers }: PackedImage, packed: readonly Blob[]) {
  const blobs = layers.flatMap((at) => packed[at] ?? []);
  const parsed = JSON.parse(configJson) as Readonly<Record<string, unknown>>;
  const diffIds = blobs.map(({ digest }) => digest);
  const config = json({ ...parsed, rootfs: { type: "layers", diff_ids: diffIds } });
  const manifest = json({
    schemaVersion: 2,
    mediaType: ociType("manifest.v1+json"),
    config: { mediaType: ociType("config.v1+json"), ...blobOfBytes(config) },
    layers: blobs.map((blob) => ({ mediaType: ociType("layer.v1.tar"), ...blob })),
  });
  const entry = { mediaType: ociType("manifest.v1+json"), ...blobOfBytes(manifest) };
  const entries =
    names.length === 0 ? [entry] : names.map((name) => ({ ...entry, annotations: namedBy(name) }));
  const docker = {
    Config: nameOf(digestOf(config)),
    RepoTags: names.length === 0 ? null : names,
    Layers: diffIds.map(nameOf),
  };
  return { config, manifest, entries, docker };
}

/** As Docker names them. */
function namedBy(name: string): Readonly<Record<string, string>> {
  const tag = name.slice(name.lastIndexOf(":") + 1);
  return { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag };
}

function blobOf(layer: PackedLayer): Blob {
  const hash = createHash("sha256");
  let size = 0;
  new LayerPacker(layer, (bytes) => {
    hash.update(bytes);
    size += bytes.length;
  }).pack();
  return { digest: `sha256:${hash.digest("hex")}`, size };
}

function writeLayer(name: string, layer: PackedLayer, { digest, size }: Blob): void {
  write(headersOf({ name, type: "0", mode: 0o644, size }));
  const hash = createHash("sha256");
  let written = 0;
  new LayerPacker(layer, (bytes) => {
    written += bytes.length;
    if (written > size) throw changed(layer);
    hash.update(bytes);
    write(bytes);
  }).pack();
  if (`sha256:${hash.digest("hex")}` !== digest) throw changed(layer);
  write(paddingOf(size));
}

function changed({ directory }: PackedLayer): RuntimeError {
  return new RuntimeError(
    "data-loss",
    `pack layer "${directory}": its files changed meanwhile; check the images with "davit images check"`,
  );
}

function writeFile(name: string, bytes: Buffer): void {
  write(headersOf({ name, type: "0", mode: 0o644, size: bytes.length }));
  write(bytes);
  write(paddingOf(bytes.length));
}

function write(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(STDOUT, bytes, at);
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function blobOfBytes(bytes: Buffer): Blob {
  return { digest: digestOf(bytes), size: bytes.length };
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function nameOf(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}
