/** A registry of one image in memory, on loopback. */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { gzipSync } from "node:zlib";

/** An image that a registry of its own serves. */
export interface ServedImage extends AsyncDisposable {
  /** As a pull names it. */
  readonly name: string;
}

/** Serves an image of these archives, gzipped, under any name. It has Range, as all registries do. */
export async function serveImage(archives: Iterable<Buffer>): Promise<ServedImage> {
  const blobs = new Map<string, Buffer>();
  const keep = (bytes: Buffer): { readonly digest: string; readonly size: number } => {
    const digest = digestOf(bytes);
    blobs.set(digest, bytes);
    return { digest, size: bytes.length };
  };
  const [layers, diffIds]: [object[], string[]] = [[], []];
  for (const tar of archives) {
    diffIds.push(digestOf(tar));
    const mediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
    layers.push({ mediaType, ...keep(gzipSync(tar, { level: 1 })) });
  }
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
    const type = kind === "manifests" ? mediaType : "application/octet-stream";
    answer(request, response, { type, body, digest: kind === "blobs" ? digest : digestOf(body) });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    name: `127.0.0.1:${(server.address() as AddressInfo).port}/bench:bench`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function answer(
  request: IncomingMessage,
  response: ServerResponse,
  { type, body, digest }: { readonly type: string; readonly body: Buffer; readonly digest: string },
): void {
  const [, first, last = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  const begin = Number(first ?? 0);
  const end = last === "" ? body.length : Math.min(body.length, Number(last) + 1);
  response.writeHead(first === undefined ? 200 : 206, {
    "content-type": type,
    "content-length": end - begin,
    "accept-ranges": "bytes",
    "docker-content-digest": digest,
    ...(first === undefined ? {} : { "content-range": `bytes ${begin}-${end - 1}/${body.length}` }),
  });
  response.end(request.method === "HEAD" ? undefined : body.subarray(begin, end));
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
