/**
 * Images that the tests build from the machine's busybox-static: nothing is pulled from the internet. The blobs are
 * in memory; `TestRegistry.push` pushes them to a registry.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { execFileSync } from "node:child_process";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";

/** One entry of a layer. A directory's path ends with a slash. */
export interface Entry {
  readonly path: string;
  readonly body?: string | Buffer;
  /** Target of a symbolic link. */
  readonly link?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

export type Compression = "gzip" | "zstd" | "none";

/** A blob that a manifest names. */
export interface Blob {
  readonly mediaType: string;
  readonly digest: string;
  readonly bytes: Buffer;
}

/** A layer as a registry serves it. */
export interface Layer extends Blob {
  /** Digest of the uncompressed tar. */
  readonly diffId: string;
}

/** The part of an image's config that says how containers of it run. */
export interface RunConfig {
  readonly User?: string;
  readonly Env?: readonly string[];
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly WorkingDir?: string;
  readonly StopSignal?: string;
  readonly Volumes?: Readonly<Record<string, object>>;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** An image: its manifest, and the blobs that must be pushed before it. */
export interface TestImage {
  readonly manifest: Blob;
  readonly config: Blob;
  readonly layers: readonly Layer[];
}

export function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** A layer of these entries. */
export function layerOf(entries: readonly Entry[], compression: Compression = "gzip"): Layer {
  return layerOfTar(Buffer.concat([...entries.map(tarEntry), Buffer.alloc(1024)]), compression);
}

/** A layer with the given archive, which need not be valid. */
export function layerOfTar(tar: Buffer, compression: Compression = "gzip"): Layer {
  const bytes =
    compression === "gzip"
      ? gzipSync(tar, { level: constants.Z_BEST_SPEED })
      : compression === "zstd"
        ? zstdCompressSync(tar)
        : tar;
  const suffix = compression === "none" ? "" : `+${compression}`;
  return {
    mediaType: `application/vnd.oci.image.layer.v1.tar${suffix}`,
    digest: digestOf(bytes),
    bytes,
    diffId: digestOf(tar),
  };
}

/** An image of these layers, lowest first. */
export function imageOf(
  layers: readonly Layer[],
  run: RunConfig = {},
  annotations?: Readonly<Record<string, string>>,
): TestImage {
  const config = jsonBlob("application/vnd.oci.image.config.v1+json", {
    architecture: process.arch === "arm64" ? "arm64" : "amd64",
    os: "linux",
    config: run,
    rootfs: { type: "layers", diff_ids: layers.map(({ diffId }) => diffId) },
  });
  const manifest = jsonBlob("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: descriptorOf(config),
    layers: layers.map(descriptorOf),
    annotations,
  });
  return { manifest, config, layers };
}

/** An OCI artifact: files by their paths. Its layers are the files. */
export function artifactOf(type: string, files: Readonly<Record<string, string>>): TestImage {
  const octets = "application/octet-stream";
  const layers = Object.entries(files).map(([path, body]) => {
    const bytes = Buffer.from(body);
    return { mediaType: octets, digest: digestOf(bytes), bytes, diffId: "", path };
  });
  const config = jsonBlob("application/vnd.oci.empty.v1+json", {});
  const manifest = jsonBlob("application/vnd.oci.image.manifest.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    artifactType: type,
    config: descriptorOf(config),
    layers: layers.map((layer) => ({
      ...descriptorOf(layer),
      annotations: { "org.opencontainers.image.title": layer.path },
    })),
  });
  return { manifest, config, layers };
}

/** An index of an image for this machine and one for another kind of machine. */
export function indexOf(image: TestImage, forOthers: TestImage): Blob {
  const own = process.arch === "arm64" ? "arm64" : "amd64";
  const other = own === "arm64" ? "amd64" : "arm64";
  return jsonBlob("application/vnd.oci.image.index.v1+json", {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.index.v1+json",
    manifests: [
      { ...descriptorOf(forOthers.manifest), platform: { os: "linux", architecture: other } },
      { ...descriptorOf(image.manifest), platform: { os: "linux", architecture: own } },
    ],
  });
}

/**
 * Busybox with a link for each applet, and users: root, nobody (65534), app (1000, in the groups
 * app and extra, 2000).
 */
export function busyboxLayer(
  compression: Compression = "gzip",
  more: readonly Entry[] = [],
): Layer {
  const applets = execFileSync("/bin/busybox", ["--list"], { encoding: "utf8" }).trim().split("\n");
  const links = applets
    .filter((name) => name !== "busybox")
    .map((name) => ({ path: `bin/${name}`, link: "busybox" }));
  const directories = ["bin/", "etc/", "home/", "proc/", "root/", "sys/", "tmp/", "var/", "dev/"];
  return layerOf(
    [
      ...directories.map((path) => ({ path, mode: path === "tmp/" ? 0o1777 : 0o755 })),
      { path: "bin/busybox", body: readFileSync("/bin/busybox"), mode: 0o755 },
      ...links,
      {
        path: "etc/passwd",
        body: [
          "root:x:0:0:root:/root:/bin/sh",
          "app:x:1000:1000::/home/app:/bin/sh",
          "nobody:x:65534:65534::/:/bin/false",
          "",
        ].join("\n"),
      },
      { path: "etc/group", body: "root:x:0:\napp:x:1000:\nextra:x:2000:app\nnobody:x:65534:\n" },
      { path: "home/app/", uid: 1000, gid: 1000 },
      ...more,
    ],
    compression,
  );
}

/** The descriptor of a blob in a manifest or an index. */
function descriptorOf(blob: Blob): {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
} {
  return { mediaType: blob.mediaType, digest: blob.digest, size: blob.bytes.length };
}

function jsonBlob(mediaType: string, value: object): Blob {
  const bytes = Buffer.from(JSON.stringify(value));
  return { mediaType, digest: digestOf(bytes), bytes };
}

/** One entry in the ustar format (POSIX.1-1988, "ustar Interchange Format"). */
function tarEntry(entry: Entry): Buffer {
  const body = Buffer.from(entry.body ?? "");
  const isDirectory = entry.path.endsWith("/");
  const type = isDirectory ? "5" : entry.link === undefined ? "0" : "2";
  const header = Buffer.alloc(512);
  const octal = (value: number, at: number, length: number): void => {
    header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, at, "latin1");
  };
  header.write(entry.path, 0, "utf8");
  octal(entry.mode ?? (isDirectory ? 0o755 : 0o644), 100, 8);
  octal(entry.uid ?? 0, 108, 8);
  octal(entry.gid ?? 0, 116, 8);
  octal(type === "0" ? body.length : 0, 124, 12);
  octal(1_700_000_000, 136, 12);
  header.write(" ".repeat(8), 148, "latin1");
  header.write(type, 156, "latin1");
  header.write(entry.link ?? "", 157, "utf8");
  header.write("ustar\x0000", 257, "latin1");
  octal(
    header.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  const padding = Buffer.alloc((512 - (body.length % 512)) % 512);
  return Buffer.concat([header, body, padding]);
}
