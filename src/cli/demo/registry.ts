import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { arch } from "node:process";
import { RuntimeError } from "../../base/errors.ts";
import { busyboxImage, type DemoImage, digestOf } from "./image.ts";

const busyboxPaths = ["/usr/bin/busybox", "/bin/busybox"];

/** A registry with one image on the loopback address, from which the demo's pods pull. */
interface DemoRegistry extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
}

/**
 * Serves an image with this machine's busybox under all names (distribution
 * specification, pull only). Throws `failed-precondition` if busybox is not installed.
 */
export async function openDemoRegistry(): Promise<DemoRegistry> {
  const image = busyboxImage(await readBusybox(), arch === "arm64" ? "arm64" : "amd64");
  const server = serve(image);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${String(port)}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

async function readBusybox(): Promise<Buffer> {
  for (const path of busyboxPaths) {
    const busybox = await readFile(path).catch(() => undefined);
    if (busybox !== undefined) return busybox;
  }
  throw new RuntimeError(
    "failed-precondition",
    `create the image of the demo: ${busyboxPaths.join(" or ")} not found; install the package busybox-static`,
  );
}

function serve(image: DemoImage): Server {
  return createServer((request, response) => {
    const path = new URL(request.url ?? "/", "http://registry").pathname;
    const kind = /^\/v2\/.+\/(manifests|blobs)\/([^/]+)$/.exec(path);
    const body = kind?.[1] === "blobs" ? image.blobs.get(kind[2] ?? "") : image.manifest;
    if (kind === null || body === undefined) {
      response.writeHead(path === "/v2/" ? 200 : 404).end();
      return;
    }
    response.writeHead(200, {
      "content-type":
        kind[1] === "blobs"
          ? "application/octet-stream"
          : "application/vnd.oci.image.manifest.v1+json",
      "content-length": body.length,
      "docker-content-digest": digestOf(body),
    });
    response.end(request.method === "HEAD" ? undefined : body);
  });
}
