/** Archives of test images, as other programs write them. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { buildTar, type BuiltEntry } from "../../src/unpack/testing/tar-builder.ts";
import type { Blob, TestImage } from "./images.ts";

/** An entry of the index of an OCI layout. */
export interface LayoutEntry {
  readonly blob: Blob;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Readonly<Record<string, string>>;
}

/** The files of an OCI layout with these images and further blobs. */
export function ociLayout(
  images: readonly TestImage[],
  entries: readonly LayoutEntry[],
  more: readonly Blob[] = [],
): Record<string, Buffer> {
  const files: Record<string, Buffer> = {
    "oci-layout": Buffer.from('{"imageLayoutVersion":"1.0.0"}'),
    "index.json": Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        manifests: entries.map(({ blob, ...rest }) => ({
          mediaType: blob.mediaType,
          digest: blob.digest,
          size: blob.bytes.length,
          ...rest,
        })),
      }),
    ),
  };
  const blobs = images.flatMap(({ manifest, config, layers }) => [manifest, config, ...layers]);
  for (const { digest, bytes } of [...blobs, ...more]) {
    files[`blobs/${digest.replace(":", "/")}`] = bytes;
  }
  return files;
}

/** The files of a docker archive in the format before Docker 25. */
export function dockerArchive(
  images: readonly { readonly image: TestImage; readonly tags: readonly string[] | null }[],
): Record<string, Buffer> {
  const files: Record<string, Buffer> = {};
  const manifest = images.map(({ image, tags }) => {
    const config = `${image.config.digest.slice(7)}.json`;
    files[config] = image.config.bytes;
    const layers = image.layers.map(({ diffId, bytes }) => {
      const name = `${diffId.slice(7)}/layer.tar`;
      files[name] = bytes;
      return name;
    });
    return { Config: config, RepoTags: tags, Layers: layers };
  });
  files["manifest.json"] = Buffer.from(JSON.stringify(manifest));
  return files;
}

/** A tar archive of files by name. */
export function tarOf(
  files: Readonly<Record<string, Buffer>>,
  more: readonly BuiltEntry[] = [],
): Buffer {
  const entries = Object.entries(files).map(([name, data]) => ({ name, data }));
  return buildTar([...entries, ...more]);
}

/** Writes files below a directory. */
export function writeFiles(directory: string, files: Readonly<Record<string, Buffer>>): void {
  for (const [name, bytes] of Object.entries(files)) {
    const file = path.join(directory, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, bytes);
  }
}

/** Copies an image with skopeo, which knows no policy here. */
export function skopeoCopy(from: string, to: string, ...options: readonly string[]): void {
  const args = ["--insecure-policy", "copy", "--quiet", ...options, from, to];
  execFileSync("skopeo", args, { stdio: ["ignore", "ignore", "pipe"] });
}
