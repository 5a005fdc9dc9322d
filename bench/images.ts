/** The images of the measured containers, from a registry that the bench serves on loopback. */
import { createHash, randomFillSync } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";
import { openDemoRegistry } from "../src/cli/demo/registry.ts";
import type { Bench, Side } from "./row.ts";

const pullMs = 300_000;

/** Pulls the busybox image on both sides during `use`, which gets its name. */
export async function withBusybox<T>(bench: Bench, use: (image: string) => Promise<T>): Promise<T> {
  await using registry = await openDemoRegistry();
  // Both servers speak plain HTTP to loopback.
  const image = `${registry.url.replace("http://", "")}/busybox:bench`;
  for (const side of [bench.peer, bench.davit]) await pullImage(side, image);
  return await use(image);
}

/** Pulls an image on one side. */
export async function pullImage({ server }: Side, image: string): Promise<void> {
  await server.client.image.pullImage({ image: { image } }, { timeoutMs: pullMs });
}

/** Removes an image; its layers are deleted in the background. */
export async function removeImage({ server }: Side, image: string): Promise<void> {
  await server.client.image.removeImage({ image: { image } });
}

/** A registry of one large image. */
interface LargeImage extends AsyncDisposable {
  /** As a pull names it. */
  readonly name: string;
}

const layerCount = 8;
const filesInLayer = 16;
const fileBytes = 8 << 20;

/**
 * Serves an image of 1 GiB: 8 layers of 16 files of 8 MiB each, gzipped. Half of each file is noise,
 * half repeats itself, so that decompression has work. It is served under any name.
 */
export async function openLargeImage(): Promise<LargeImage> {
  const blobs = new Map<string, Buffer>();
  const keep = (bytes: Buffer): { readonly digest: string; readonly size: number } => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  };
  const diffIds: string[] = [];
  const layers = Array.from({ length: layerCount }, (_, at) => {
    const tar = layerTar(at);
    diffIds.push(digestOf(tar));
    return {
      mediaType: "application/vnd.oci.image.layer.v1.tar+gzip",
      ...keep(gzipSync(tar, { level: 1 })),
    };
  });
  const text = (value: object): Buffer => Buffer.from(JSON.stringify(value));
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const rootfs = { type: "layers", diff_ids: diffIds };
  const config = {
    mediaType: "application/vnd.oci.image.config.v1+json",
    ...keep(text({ architecture, os: "linux", config: {}, rootfs })),
  };
  const mediaType = "application/vnd.oci.image.manifest.v1+json";
  const manifest = text({ schemaVersion: 2, mediaType, config, layers });
  const server = createServer((request, response) => {
    const [, kind = "", digest = ""] =
      /^\/v2\/.+\/(manifests|blobs)\/([^/]+)$/.exec(request.url ?? "") ?? [];
    const body = kind === "manifests" ? manifest : blobs.get(digest);
    if (body === undefined) {
      response.writeHead(request.url === "/v2/" ? 200 : 404).end();
      return;
    }
    response.writeHead(200, {
      "content-type": kind === "manifests" ? mediaType : "application/octet-stream",
      "content-length": body.length,
      "docker-content-digest": digestOf(body),
    });
    response.end(request.method === "HEAD" ? undefined : body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    name: `127.0.0.1:${(server.address() as AddressInfo).port}/large:bench`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

/** The tar of a layer (POSIX.1-1988, "ustar Interchange Format"). */
function layerTar(layer: number): Buffer {
  const tar = Buffer.alloc(filesInLayer * (512 + fileBytes) + 1024);
  for (let file = 0; file < filesInLayer; file++) {
    const at = file * (512 + fileBytes);
    const header = tar.subarray(at, at + 512);
    const octal = (value: number, offset: number, length: number): void => {
      header.write(`${value.toString(8).padStart(length - 1, "0")}\0`, offset, "latin1");
    };
    header.write(`file-${layer}-${file}`, 0, "latin1");
    octal(0o644, 100, 8);
    octal(0, 108, 8);
    octal(0, 116, 8);
    octal(fileBytes, 124, 12);
    octal(1_700_000_000, 136, 12);
    header.write(" ".repeat(8), 148, "latin1");
    header.write("0", 156, "latin1");
    header.write("ustar\x0000", 257, "latin1");
    octal(
      header.reduce((sum, byte) => sum + byte, 0),
      148,
      7,
    );
    randomFillSync(tar, at + 512, fileBytes / 2);
    tar.copy(tar, at + 512 + fileBytes / 2, at + 512, at + 512 + 4096);
  }
  return tar;
}
