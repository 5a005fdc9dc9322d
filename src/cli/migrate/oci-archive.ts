import { RuntimeError } from "../../base/errors.ts";
import type { ContainerdClient } from "../../client/containerd-client.ts";
import { archiveEnd, headersOf, paddingOf } from "../../unpack/tar-writer.ts";
import type { WholeImage } from "./stored-image.ts";

/** An image as an OCI layout in a tar archive. Its blobs are read from containerd while it is read. */
export async function* ociArchive(
  store: ContainerdClient,
  image: WholeImage,
  names: readonly string[],
): AsyncGenerator<Uint8Array, void, undefined> {
  const { target, documents, blobs } = image;
  const { mediaType, digest, size } = target;
  const manifests = names.map((name) => ({
    mediaType,
    digest,
    size,
    annotations: { "io.containerd.image.name": name },
  }));
  yield* whole("oci-layout", Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  yield* whole("index.json", Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
  for (const [of, bytes] of documents) yield* whole(pathOf(of), bytes);
  for (const blob of blobs) {
    yield header(pathOf(blob.digest), blob.size);
    yield* exactly(store.read(blob.digest), blob);
    yield paddingOf(blob.size);
  }
  yield archiveEnd;
}

/** How many bytes of layers and config an archive has. */
export function bytesOf({ blobs }: WholeImage): number {
  return blobs.reduce((sum, { size }) => sum + size, 0);
}

function* whole(name: string, bytes: Uint8Array): Generator<Uint8Array> {
  yield header(name, bytes.length);
  yield bytes;
  yield paddingOf(bytes.length);
}

function header(name: string, size: number): Uint8Array {
  return headersOf({ name, type: "0", mode: 0o644, size });
}

function pathOf(digest: string): string {
  return `blobs/${digest.replace(":", "/")}`;
}

/** The header has the size already, so another one would break the archive. */
async function* exactly(
  chunks: AsyncIterable<Uint8Array>,
  { digest, size }: WholeImage["blobs"][number],
): AsyncGenerator<Uint8Array> {
  let read = 0;
  for await (const chunk of chunks) {
    read += chunk.length;
    if (read > size) break;
    yield chunk;
  }
  if (read === size) return;
  const text = `read "${digest}" of containerd: it has not ${size} bytes, as its manifest says`;
  throw new RuntimeError("data-loss", text);
}
