import { asRecord, HostFailure } from "./failure.ts";
import type { ImageIndex, ImageManifest, IndexEntry } from "./manifest.ts";
import { indexTypes, manifestTypes } from "./media-types.ts";
import { formatPlatform, type Platform, platformRank } from "./platform.ts";

/**
 * The entries of an index that may run on `node`, best first, as containerd sorts them. Those that name no
 * platform come last: the config of their image decides, see {@link configRuns}. Entries of other types, for
 * example signatures, are never one.
 */
export function candidatesOf(index: ImageIndex, node: Platform): readonly IndexEntry[] {
  const ranked = index.entries.flatMap((entry) => {
    const { mediaType } = entry.descriptor;
    if (!indexTypes.includes(mediaType) && !manifestTypes.includes(mediaType)) return [];
    const rank =
      entry.platform === undefined ? Number.MAX_SAFE_INTEGER : platformRank(node, entry.platform);
    return rank === undefined ? [] : [{ entry, rank }];
  });
  return ranked.toSorted((a, b) => a.rank - b.rank).map(({ entry }) => entry);
}

/**
 * Whether an image with this config runs on `node`. True as well for a config that names no architecture or is
 * not JSON, which the pull then rejects with its own words.
 */
export function configRuns(config: Uint8Array, node: Platform): boolean {
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder().decode(config));
  } catch {
    return true;
  }
  const { os, architecture, variant } = asRecord(raw) ?? {};
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  if (text(architecture) === "") return true;
  const platform = { os: text(os), architecture: text(architecture), variant: text(variant) };
  return platformRank(node, platform) !== undefined;
}

/** The error for an index without an image for `node`: it lists the platforms that it has. */
export function noPlatform(index: ImageIndex | ImageManifest, node: Platform): HostFailure {
  const entries = index.kind === "index" ? index.entries : [];
  const offered = entries
    .flatMap(({ platform }) => (platform === undefined ? [] : [formatPlatform(platform)]))
    .filter((platform) => !platform.startsWith("unknown"));
  const there = offered.length === 0 ? "no platform at all" : shown([...new Set(offered)]);
  return new HostFailure(
    "not-found",
    `has the image for ${there}, not for this node's ${formatPlatform(node)}`,
  );
}

const shownPlatforms = 20;

function shown(platforms: readonly string[]): string {
  const first = platforms.slice(0, shownPlatforms).join(", ");
  const more = platforms.length - shownPlatforms;
  // An index can say anything, and this is for a terminal.
  const text = first.replace(/[^\x20-\x7e]/g, "?").slice(0, 1000);
  return more > 0 ? `${text} and ${more} more` : text;
}
