import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, isDigest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type LayerFacts, readFacts, summaryOf } from "./layer-facts.ts";
import { readMark } from "./late-sync.ts";
import { type StateLayout, UNCLAIMED } from "./state-layout.ts";

/** What the daemon keeps in memory of the layers on disk. */
export interface LayerIndex {
  readonly layers: Map<Digest, LayerFacts>;
  /** The layers that no image has used yet, with the time when they were unpacked. Nanoseconds since 1970. */
  readonly unclaimed: Map<Digest, bigint>;
  /** The layers whose facts are too old to have an origin. */
  readonly unattributed: Set<Digest>;
  /** The layers that may not be on the disk yet. */
  readonly unsynced: Set<Digest>;
  /** Those of another boot: they count as missing, and are to be removed. */
  readonly torn: Set<Digest>;
}

/** Reads the index from disk. A layer without readable facts counts as missing, with a warning. */
export async function readLayerIndex(
  paths: StateLayout,
  bootId: string,
  log: Logger,
): Promise<LayerIndex> {
  const index: LayerIndex = {
    layers: new Map(),
    unclaimed: new Map(),
    unattributed: new Set(),
    unsynced: new Set(),
    torn: new Set(),
  };
  for (const name of await readdir(paths.layers)) {
    const diffId = `sha256:${name}`;
    if (!isDigest(diffId)) continue;
    try {
      const directory = paths.layer(diffId);
      const madeIn = await readMark(directory);
      if (madeIn !== undefined && madeIn !== bootId) {
        index.torn.add(diffId);
        throw new Error("the machine stopped before its files were on the disk");
      }
      const facts = summaryOf(await readFacts(directory));
      index.layers.set(diffId, facts);
      if (madeIn !== undefined) index.unsynced.add(diffId);
      if (facts.origins === undefined) index.unattributed.add(diffId);
      const path = join(directory, UNCLAIMED);
      const mark = await stat(path, { bigint: true }).catch(() => undefined);
      if (mark !== undefined) index.unclaimed.set(diffId, mark.mtimeNs);
    } catch (cause) {
      log.warn(`layer "${diffId}" is ignored until it is pulled again: ${messageOf(cause)}`);
    }
  }
  return index;
}
