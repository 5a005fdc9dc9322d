import { createHash } from "node:crypto";

import { type Digest, isDigest } from "../../base/digest.ts";
import { quote } from "../../base/quote.ts";
import type { Descriptor, ImageContent } from "../../core/image/index.ts";
import { artifactOf } from "./artifact.ts";
import { encryptionOf } from "./encryption.ts";
import { asRecord, HostFailure } from "./failure.ts";
import {
  indexTypes,
  isConfigType,
  isEncryptedType,
  isForeignLayer,
  isLayerType,
  isSchema1,
  manifestTypes,
  ociPrefix,
} from "./media-types.ts";
import type { Platform } from "./platform.ts";

type Json = Readonly<Record<string, unknown>>;

/** The `Accept` value of a request for a manifest: everything that {@link parseManifest} reads. */
export const manifestAccept = [...indexTypes, ...manifestTypes].join(", ");

/** An image for one platform, or an artifact. */
export interface ImageManifest extends ImageContent {
  readonly kind: "manifest";
  readonly mediaType: string;
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
  /** Undefined where the index does not say it. */
  readonly platform: Platform | undefined;
}

/**
 * Reads a manifest or an index of OCI or of Docker's schema 2. `contentType` is what the server
 * calls it; the text's own type takes precedence. A {@link HostFailure} of kind `unimplemented`
 * for one that is neither an image nor an artifact or is too old, `data-loss` for invalid content.
 */
export function parseManifest(bytes: Uint8Array, contentType: string): ImageManifest | ImageIndex {
  const raw = parseObject(bytes, contentType);
  const mediaType = mediaTypeOf(raw, contentType);
  if (isSchema1(mediaType) || raw["fsLayers"] !== undefined) throw tooOld();
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
      `has a manifest of type ${quote(mediaType)}, which is not a container image`,
    );
  }
  if (raw["manifests"] !== undefined) throw ambiguous();
  return { kind: "manifest", mediaType, ...parseContent(raw, mediaType) };
}

function parseContent(raw: Json, manifestType: string): ImageContent {
  const config = parseDescriptor({ mediaType: "", ...asRecord(raw["config"]) }, "config");
  const rawLayers = list(raw["layers"], "layers");
  const layers = rawLayers.map((layer, index) => parseDescriptor(layer, `layers[${index}]`));
  const odd = layers.findIndex(({ mediaType }) => !isLayerType(mediaType));
  const artifactType = text(raw["artifactType"]);
  // An image may have a type of artifact, too, and then runs as any other.
  const isImage = isConfigType(config.mediaType, manifestType);
  if (!isImage || (odd >= 0 && artifactType !== "")) {
    return { config, ...artifactOf(artifactType || config.mediaType, layers, rawLayers) };
  }
  const layer = layers[odd];
  if (layer !== undefined) throw unknownLayer(`layers[${odd}]`, layer.mediaType);
  const checkpointOf = checkpointIn(raw["annotations"]);
  return {
    config,
    layers: layers.map((each, at) => withNotes(each, rawLayers[at])),
    ...(checkpointOf !== undefined && { checkpointOf }),
  };
}

/**
 * Annotations of images of checkpoints, with the name of the container: by checkpointctl (lib/metadata.go) and CRI-O, by
 * earlier versions of them, and by podman.
 */
const checkpointKeys = [
  "org.criu.checkpoint.container.name",
  "checkpointctl.annotation.checkpoint.name",
  "io.kubernetes.cri-o.annotations.checkpoint.name",
  "io.podman.annotations.checkpoint.name",
];
const maxNameLength = 255;

function checkpointIn(annotations: unknown): string | undefined {
  const record = asRecord(annotations);
  const name = checkpointKeys.map((key) => record?.[key]).find((each) => each !== undefined);
  if (name === undefined) return undefined;
  return text(name)
    .slice(0, maxNameLength)
    .replace(/[\p{Cc}\p{Cs}]/gu, "\ufffd");
}

function unknownLayer(what: string, mediaType: string): HostFailure {
  const type = JSON.stringify(mediaType.slice(0, 200));
  return new HostFailure(
    "unimplemented",
    `has a ${what} of type ${type}, which is not one of a container image`,
  );
}

/**
 * Notes how a layer is encrypted, and one that the manifest says to get from elsewhere: nothing is fetched from
 * addresses in an image.
 */
function withNotes(layer: Descriptor, raw: unknown): Descriptor {
  const { urls, annotations } = asRecord(raw) ?? {};
  const hasUrls = Array.isArray(urls) && urls.length > 0;
  return {
    ...layer,
    ...((hasUrls || isForeignLayer(layer.mediaType)) && { isForeign: true as const }),
    ...(isEncryptedType(layer.mediaType) && { encryption: encryptionOf(annotations) }),
  };
}

/** The digest of bytes at hand. */
export function digestOf(bytes: Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

function mediaTypeOf(raw: Json, contentType: string): string {
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
    "has the image only in Docker's schema 1 (application/vnd.docker.distribution.manifest.v1+prettyjws), which has no digests to check it by: push it again with a current builder, or copy it with skopeo copy --format v2s2",
  );
}

function ambiguous(): HostFailure {
  return new HostFailure("data-loss", "has a manifest that is an index and an image at once");
}

// Nothing of the bytes is shown: a registry may redirect to what only this node can read.
function parseObject(bytes: Uint8Array, contentType: string): Json {
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
  const [os, architecture] = [text(platform["os"]), text(platform["architecture"])];
  const variant = text(platform["variant"]);
  // An empty platform says nothing.
  const isEmpty = os === "" && architecture === "";
  return { descriptor, platform: isEmpty ? undefined : { os, architecture, variant } };
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
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
