import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isDigest } from "../../base/digest.ts";
import type { LayerOrigin, LayerSource } from "../../core/snapshot/index.ts";
import { type FromBelow, parseFromBelow } from "./from-below.ts";

/** How a layer is stored: as files in `fs`, or as an EROFS image that is mounted there while it is used. */
export type LayerFormat = "directory" | "erofs";

/** What the daemon keeps in memory of a layer. */
export interface LayerFacts {
  readonly format: LayerFormat;
  readonly bytes: number;
  readonly inodes: number;
  /** It hides everything below it: overlayfs has no mark for that on a root. */
  readonly rootOpaque: boolean;
  /** Whether it shares hard links, or only directories, with the layers below it; `undefined` for neither. */
  readonly hasOfBelow: "links" | "directories" | undefined;
  /** Of an image: the fs-verity digest of its file, if it has one. */
  readonly verity?: string | undefined;
  /** Where its bytes came from, the newest last. Undefined where the file is too old to have it. */
  readonly origins: readonly LayerOrigin[] | undefined;
}

/** The content of `layer.json`, next to the files of a layer. The names in it are the image's, and may be long. */
export interface StoredFacts extends Omit<LayerFacts, "hasOfBelow"> {
  /** What it shares with the layers below it, in any image; `undefined` for nothing. */
  readonly fromBelow: FromBelow | undefined;
}

/** The part of the stored facts that is kept in memory. */
export function summaryOf({ fromBelow, ...facts }: StoredFacts): LayerFacts {
  const kind = fromBelow?.links.length === 0 ? "directories" : "links";
  return { ...facts, hasOfBelow: fromBelow === undefined ? undefined : kind };
}

/** The name of the file in the directory of a layer. */
export const factsFile = "layer.json";

/**
 * The version that is written. Version 1 has no origins. Version 3 is that of images: its sizes have another place,
 * so that an older davit ignores the layer instead of mounting an empty directory.
 */
const versions = { directory: 2, erofs: 3 } as const;
/** A layer rarely comes from more registries; the oldest are dropped. */
const maxOrigins = 32;

/** The text of `layer.json`. */
export function formatFacts(facts: StoredFacts): string {
  const origins = facts.origins?.map(formatOrigin);
  const { format, bytes, inodes, verity, ...others } = facts;
  const sizes = format === "erofs" ? { image: { bytes, inodes, verity } } : { bytes, inodes };
  return `${JSON.stringify({ version: versions[format], ...sizes, ...others, origins })}\n`;
}

/** Reads the facts in the directory of a layer. Throws an Error for a file without sizes or with less. */
export async function readFacts(directory: string): Promise<StoredFacts> {
  const path = join(directory, factsFile);
  const value: unknown = JSON.parse(await readFile(path, "utf8"));
  if (typeof value === "object" && value !== null) {
    const fields = value as Readonly<Record<string, unknown>>;
    const format: LayerFormat = fields["version"] === versions.erofs ? "erofs" : "directory";
    const image = format === "erofs" ? fields["image"] : undefined;
    const sizes = parseSizes(format === "erofs" ? image : value);
    if (sizes !== undefined) {
      const rootOpaque = fields["rootOpaque"] === true;
      const fromBelow = parseFromBelow(fields["fromBelow"]);
      const isOld = fields["version"] === undefined || fields["version"] === 1;
      const origins = isOld ? undefined : parseOrigins(fields["origins"]);
      return { format, ...sizes, rootOpaque, fromBelow, verity: parseVerity(image), origins };
    }
  }
  throw new Error(`"${path}" has no sizes`);
}

function parseSizes(value: unknown): Pick<LayerFacts, "bytes" | "inodes"> | undefined {
  if (typeof value !== "object" || value === null || !("bytes" in value)) return undefined;
  const { bytes, inodes } = { inodes: undefined, ...value };
  if (typeof bytes !== "number" || typeof inodes !== "number") return undefined;
  return bytes >= 0 && inodes >= 0 ? { bytes, inodes } : undefined;
}

/** Any other value is compared like a digest, and differs from that of the file. */
function parseVerity(image: unknown): string | undefined {
  if (typeof image !== "object" || image === null || !("verity" in image)) return undefined;
  return String(image.verity);
}

/**
 * An encrypted blob has its digest in another place: an older davit, which knows no ciphers, must not take the layer for
 * one that anybody may have who may read the blob.
 */
function formatOrigin({ registry, digest, sizeBytes, cipher }: LayerOrigin): object {
  const blob = cipher === undefined ? { digest } : { encrypted: { digest, cipher } };
  return { registry, ...blob, sizeBytes: sizeBytes.toString() };
}

/** Invalid origins are ignored: the layer is then fetched again from there. */
function parseOrigins(value: unknown): readonly LayerOrigin[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((one: Readonly<Record<string, unknown>> | null) => {
    const { registry, sizeBytes, encrypted } = one ?? {};
    const { digest, cipher } = (encrypted ?? one ?? {}) as Readonly<Record<string, unknown>>;
    if (typeof registry !== "string" || typeof digest !== "string" || !isDigest(digest)) return [];
    if (typeof sizeBytes !== "string" || !/^\d{1,18}$/.test(sizeBytes)) return [];
    const origin = { registry, digest, sizeBytes: BigInt(sizeBytes) };
    if (encrypted === undefined) return [origin];
    return typeof cipher === "string" ? [{ ...origin, cipher }] : [];
  });
}

/** Where a layer comes from. */
export function originOf({
  registry,
  blob: { digest, sizeBytes },
  cipher,
}: Pick<LayerSource, "registry" | "blob" | "cipher">): LayerOrigin {
  return { registry, digest, sizeBytes, ...(cipher && { cipher: cipher.id }) };
}

/** True for facts with this origin. */
export function hasOrigin({ origins }: Pick<LayerFacts, "origins">, origin: LayerOrigin): boolean {
  return origins?.some((one) => isSame(one, origin)) ?? false;
}

/** The facts with this origin as the newest one. */
export function withOrigin<Facts extends Pick<LayerFacts, "origins">>(
  facts: Facts,
  origin: LayerOrigin,
): Facts {
  const others = (facts.origins ?? []).filter((one) => !isSame(one, origin));
  return { ...facts, origins: [...others, origin].slice(-maxOrigins) };
}

function isSame(a: LayerOrigin, b: LayerOrigin): boolean {
  const isSameBlob = a.digest === b.digest && a.sizeBytes === b.sizeBytes;
  return isSameBlob && a.registry === b.registry && a.cipher === b.cipher;
}
