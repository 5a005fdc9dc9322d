import { createHash } from "node:crypto";

import { type Digest, isDigest } from "../../base/digest.ts";
import type { Descriptor } from "../../core/image/index.ts";
import { asRecord, HostFailure } from "./failure.ts";
import { formatPlatform, type Platform, platformRank } from "./platform.ts";

const dockerPrefix = "application/vnd.docker.";
const ociPrefix = "application/vnd.oci.image.";

const indexTypes: readonly string[] = [
  `${ociPrefix}index.v1+json`,
  `${dockerPrefix}distribution.manifest.list.v2+json`,
];
const manifestTypes: readonly string[] = [
  `${ociPrefix}manifest.v1+json`,
  `${dockerPrefix}distribution.manifest.v2+json`,
];
const configTypes: readonly string[] = [
  `${ociPrefix}config.v1+json`,
  `${dockerPrefix}container.image.v1+json`,
];
// Nondistributable layers are layers here: those that a registry has are fetched from it like any
// other, as containerd does.
const layerTypes: readonly string[] = [
  ...["", "+gzip", "+zstd"].flatMap((packing) => [
    `${ociPrefix}layer.v1.tar${packing}`,
    `${ociPrefix}layer.nondistributable.v1.tar${packing}`,
  ]),
  ...["", ".gzip", ".zstd"].flatMap((packing) => [
    `${dockerPrefix}image.rootfs.diff.tar${packing}`,
    `${dockerPrefix}image.rootfs.foreign.diff.tar${packing}`,
  ]),
];

/** The `Accept` value of a request for a manifest: everything that {@link parseManifest} reads. */
export const manifestAccept = [...indexTypes, ...manifestTypes].join(", ");

/** An image for one platform. */
export interface ImageManifest {
  readonly kind: "manifest";
  readonly mediaType: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

/** A list of images for several platforms. */
export interface ImageIndex {
  readonly kind: "index";
  readonly mediaType: string;
  readonly entries: readonly IndexEntry[];
}

/** One image of an index, or an index in it. */
export interface IndexEntry {
  readonly descriptor: Descriptor;
  readonly platform: Platform | undefined;
}

/**
 * Reads a manifest or an index of OCI or of Docker's schema 2. `contentType` is what the server
 * calls it; the text's own type takes precedence. A {@link HostFailure} of kind `unimplemented`
 * for one that is not a container image or is too old, `data-loss` for invalid content.
 */
export function parseManifest(bytes: Uint8Array, contentType: string): ImageManifest | ImageIndex {
  const raw = parseObject(bytes, contentType);
  const mediaType = mediaTypeOf(raw, contentType);
  if (/manifest\.v1\+(json|prettyjws)$/.test(mediaType) && mediaType.startsWith(dockerPrefix)) {
    throw tooOld();
  }
  if (indexTypes.includes(mediaType)) {
    if (raw["layers"] !== undefined || raw["config"] !== undefined) throw ambiguous();
    return {
      kind: "index",
      mediaType,
      entries: list(raw["manifests"], "manifests").map(parseEntry),
    };
  }
  if (!manifestTypes.includes(mediaType)) {
    throw new HostFailure(
      "unimplemented",
      `has a manifest of type ${JSON.stringify(mediaType)}, which is not a container image`,
    );
  }
  if (raw["manifests"] !== undefined) throw ambiguous();
  const config = parseDescriptor(raw["config"], "config");
  checkType("config", config, configTypes);
  const layers = list(raw["layers"], "layers").map((layer, index) => {
    const descriptor = parseDescriptor(layer, `layers[${index}]`);
    checkType(`layers[${index}]`, descriptor, layerTypes);
    return descriptor;
  });
  return { kind: "manifest", mediaType, config, layers };
}

/**
 * The entry of an index that runs best on `node`. Entries that name no platform come after all
 * that fit. A {@link HostFailure} of kind `not-found` that lists the platforms of the index.
 */
export function pickEntry(index: ImageIndex, node: Platform): IndexEntry {
  let best: { readonly entry: IndexEntry; readonly rank: number } | undefined;
  for (const entry of index.entries) {
    const rank =
      entry.platform === undefined ? Number.MAX_SAFE_INTEGER : platformRank(node, entry.platform);
    if (rank !== undefined && rank < (best?.rank ?? Infinity)) best = { entry, rank };
  }
  if (best !== undefined) return best.entry;
  const offered = index.entries
    .flatMap(({ platform }) => (platform === undefined ? [] : [formatPlatform(platform)]))
    .filter((platform) => !platform.startsWith("unknown"));
  const there = offered.length === 0 ? "no platform at all" : [...new Set(offered)].join(", ");
  throw new HostFailure(
    "not-found",
    `has the image for ${there}, not for this node's ${formatPlatform(node)}`,
  );
}

/** The digest of bytes at hand. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function mediaTypeOf(raw: Readonly<Record<string, unknown>>, contentType: string): string {
  const own = raw["mediaType"];
  const [said = ""] = contentType.toLowerCase().split(";");
  const known = [...indexTypes, ...manifestTypes];
  const claimed = typeof own === "string" && own !== "" ? own : said.trim();
  // A manifest of one type read as another can be another image (CVE-2021-41190).
  if (known.includes(claimed) && known.includes(said.trim()) && claimed !== said.trim()) {
    throw new HostFailure(
      "data-loss",
      `calls the manifest "${said.trim()}" while the manifest says "${claimed}"`,
    );
  }
  if (known.includes(claimed) || claimed.startsWith("application/vnd.")) return claimed;
  // Plain file servers send application/json or text/plain; OCI manifests need no type inside.
  if (raw["schemaVersion"] === 1) throw tooOld();
  return `${ociPrefix}${raw["manifests"] === undefined ? "manifest" : "index"}.v1+json`;
}

function tooOld(): HostFailure {
  return new HostFailure(
    "unimplemented",
    "has the image in Docker's old schema 1 only, which has no digests to check it by: push it again with a newer tool",
  );
}

function ambiguous(): HostFailure {
  return new HostFailure("data-loss", "has a manifest that is an index and an image at once");
}

function checkType(what: string, { mediaType }: Descriptor, known: readonly string[]): void {
  if (known.includes(mediaType)) return;
  throw new HostFailure(
    "unimplemented",
    `has a ${what} of type ${JSON.stringify(mediaType)}, which is not one of a container image`,
  );
}

// Nothing of the bytes is shown: a registry may redirect to what only this node can read.
function parseObject(bytes: Uint8Array, contentType: string): Readonly<Record<string, unknown>> {
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    const type = JSON.stringify(contentType.slice(0, 80));
    throw new HostFailure("data-loss", `sent a manifest that is not JSON, of type ${type}`);
  }
  const record = asRecord(raw);
  if (record === undefined)
    throw new HostFailure("data-loss", "sent a manifest that is not an object");
  return record;
}

function parseEntry(raw: unknown, index: number): IndexEntry {
  const descriptor = parseDescriptor(raw, `manifests[${index}]`);
  const platform = asRecord(asRecord(raw)?.["platform"]);
  if (platform === undefined) return { descriptor, platform: undefined };
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  return {
    descriptor,
    platform: {
      os: text(platform["os"]),
      architecture: text(platform["architecture"]),
      variant: text(platform["variant"]),
    },
  };
}

function parseDescriptor(raw: unknown, what: string): Descriptor {
  const record = asRecord(raw);
  const { mediaType, digest, size } = record ?? {};
  if (typeof mediaType !== "string") throw nonsense(`${what}.mediaType`, "a text", mediaType);
  if (typeof digest !== "string" || !isDigest(digest)) {
    throw nonsense(`${what}.digest`, "a sha256 digest", digest);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw nonsense(`${what}.size`, "a number of bytes", size);
  }
  return { mediaType, digest, sizeBytes: BigInt(size) };
}

function list(raw: unknown, what: string): readonly unknown[] {
  if (Array.isArray(raw)) return raw;
  throw nonsense(what, "a list", raw);
}

function nonsense(what: string, wanted: string, got: unknown): HostFailure {
  const shown = (JSON.stringify(got) as string | undefined)?.slice(0, 80) ?? "nothing";
  return new HostFailure("data-loss", `sent a manifest whose ${what} is not ${wanted}: ${shown}`);
}

/** Refuses content of another size than the descriptor says, as `data-loss`. */
export function checkSize(what: string, bytes: Uint8Array, wanted: bigint): void {
  if (BigInt(bytes.length) === wanted) return;
  throw new HostFailure(
    "data-loss",
    `sent a ${what} of ${bytes.length} bytes instead of ${wanted}`,
  );
}

/** Refuses content with another digest, as `data-loss`. */
export function checkDigest(what: string, bytes: Uint8Array, wanted: string): void {
  const found = digestOf(bytes);
  if (found === wanted) return;
  throw new HostFailure("data-loss", `sent a ${what} with digest ${found} instead of ${wanted}`);
}
