import type { ContainerdClient } from "../../client/containerd-client.ts";
import { RuntimeError } from "../../base/errors.ts";

/** A reference to a blob in a manifest or an index. */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** An image of containerd for this node's platform, all of whose blobs are in its store. */
export interface WholeImage {
  /** What its names stand for: the index, or the manifest. */
  readonly target: Descriptor;
  /** Manifests and indexes, with their bytes. */
  readonly documents: ReadonlyMap<string, Uint8Array>;
  /** The config and the layers. */
  readonly blobs: readonly Descriptor[];
}

/** What an image is that cannot be taken over, and why. */
export interface IncompleteImage {
  readonly problem: string;
}

interface Entry extends Descriptor {
  readonly platform: { readonly os: string; readonly architecture: string } | undefined;
}

type Json = Readonly<Record<string, unknown>>;

const maxDocumentBytes = 4 * 1024 * 1024;
const maxEntries = 1000;
const indexTypes = [
  "application/vnd.oci.image.index.v1+json",
  "application/vnd.docker.distribution.manifest.list.v2+json",
];
const manifestTypes = [
  "application/vnd.oci.image.manifest.v1+json",
  "application/vnd.docker.distribution.manifest.v2+json",
];
const architectures: Readonly<Record<string, string>> = { x64: "amd64" };

/** This node's architecture as images name it. */
const nodeArchitecture = architectures[process.arch] ?? process.arch;

/**
 * Reads the manifest of an image for this node from containerd's store and checks that every blob is there. With
 * `discard_unpacked_layers`, containerd keeps no layers. Where another manifest of the index would be chosen by
 * davit, the image is that of the manifest, without its index.
 */
export async function readStoredImage(
  store: ContainerdClient,
  target: Descriptor,
): Promise<WholeImage | IncompleteImage> {
  if (manifestTypes.includes(target.mediaType)) return await readManifest(store, target);
  if (!indexTypes.includes(target.mediaType)) {
    return { problem: `its type is ${JSON.stringify(target.mediaType)}` };
  }
  const bytes = await readDocument(store, target);
  if (bytes === undefined) return missing("index", target);
  const entries = entriesOf(parseJson(bytes), "manifests").filter(isForNode);
  let problem = `it has nothing for linux/${nodeArchitecture}`;
  for (const [at, entry] of entries.entries()) {
    const found = await readManifest(store, entry);
    if ("problem" in found) {
      problem = found.problem;
      continue;
    }
    if (at > 0 || entries.length > 1) return found;
    const documents = new Map([...found.documents, [target.digest, bytes]]);
    return { ...found, target, documents };
  }
  return { problem };
}

async function readManifest(
  store: ContainerdClient,
  target: Descriptor,
): Promise<WholeImage | IncompleteImage> {
  const bytes = await readDocument(store, target);
  if (bytes === undefined) return missing("manifest", target);
  const manifest = parseJson(bytes);
  const [config] = entriesOf({ config: [manifest["config"]] }, "config");
  if (config === undefined) return { problem: "its manifest has no config" };
  const layers = entriesOf(manifest, "layers");
  for (const [what, blob] of [
    ["config", config] as const,
    ...layers.map((each) => ["layer", each] as const),
  ]) {
    if ((await store.sizeOf(blob.digest)) !== blob.size) return missing(what, blob);
  }
  const unique = new Map([config, ...layers].map((blob) => [blob.digest, blob]));
  return { target, documents: new Map([[target.digest, bytes]]), blobs: [...unique.values()] };
}

function missing(what: string, { digest }: Descriptor): IncompleteImage {
  const reason = what === "layer" ? " (discard_unpacked_layers removes layers)" : "";
  return { problem: `containerd has not kept its ${what} ${digest}${reason}` };
}

/** Undefined if containerd has not the blob. */
async function readDocument(
  store: ContainerdClient,
  { digest, size }: Descriptor,
): Promise<Uint8Array | undefined> {
  const stored = await store.sizeOf(digest);
  if (stored === undefined || stored !== size) return undefined;
  if (size > maxDocumentBytes) {
    const text = `read "${digest}" of containerd: a manifest has at most ${maxDocumentBytes} bytes, not ${size}`;
    throw new RuntimeError("failed-precondition", text);
  }
  const chunks: Uint8Array[] = [];
  for await (const chunk of store.read(digest)) chunks.push(chunk);
  return Buffer.concat(chunks);
}

function isForNode({ platform, mediaType }: Entry): boolean {
  if (!manifestTypes.includes(mediaType)) return false;
  return (
    platform === undefined ||
    (platform.os === "linux" && platform.architecture === nodeArchitecture)
  );
}

function parseJson(bytes: Uint8Array): Json {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch (cause) {
    throw new RuntimeError("data-loss", "read a manifest of containerd: it is not JSON", { cause });
  }
  return asTable(value);
}

function entriesOf(document: Json, key: string): readonly Entry[] {
  const list = document[key];
  if (!Array.isArray(list)) return [];
  if (list.length > maxEntries) {
    const text = `read a manifest of containerd: it has more than ${maxEntries} entries`;
    throw new RuntimeError("failed-precondition", text);
  }
  return list.map(asTable).flatMap((entry) => {
    const { mediaType, digest, size, platform } = entry;
    if (typeof mediaType !== "string" || typeof digest !== "string" || typeof size !== "number")
      return [];
    if (!/^sha(256|512):[0-9a-f]{64,128}$/.test(digest)) return [];
    const { os, architecture } = asTable(platform);
    const named = typeof os === "string" && typeof architecture === "string";
    return [{ mediaType, digest, size, platform: named ? { os, architecture } : undefined }];
  });
}

function asTable(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Json)
    : {};
}
