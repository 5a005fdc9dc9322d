import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, isDigest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { type LayerFacts, readFacts, summaryOf } from "./layer-facts.ts";
import { type Mark, readMark } from "./late-sync.ts";
import { type StateLayout, UNCLAIMED } from "./state-layout.ts";

/** What the daemon keeps in memory of the layers on disk. */
export interface LayerIndex {
  readonly layers: Map<Digest, LayerFacts>;
  /** The layers that no image has used yet, with the time when they were unpacked. Nanoseconds since 1970. */
  readonly unclaimed: Map<Digest, bigint>;
  /** The layers whose facts are too old to have an origin. */
  readonly unattributed: Set<Digest>;
  /** The layers of this boot that may not be on the disk. */
  readonly unsynced: Map<Digest, Mark>;
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
    unsynced: new Map(),
    torn: new Set(),
  };
  for (const name of await readdir(paths.layers)) {
    const diffId = `sha256:${name}`;
    if (!isDigest(diffId)) continue;
    try {
      const directory = paths.layer(diffId);
      const mark = await readMark(directory);
      if (mark !== undefined && mark.bootId !== bootId) {
        index.torn.add(diffId);
        throw new Error("the machine stopped before its files were on the disk");
      }
      const facts = summaryOf(await readFacts(directory));
      index.layers.set(diffId, facts);
      if (mark !== undefined) index.unsynced.set(diffId, mark);
      if (facts.origins === undefined) index.unattributed.add(diffId);
      const path = join(directory, UNCLAIMED);
      const unclaimed = await stat(path, { bigint: true }).catch(() => undefined);
      if (unclaimed !== undefined) index.unclaimed.set(diffId, unclaimed.mtimeNs);
    } catch (cause) {
      log.warn(`layer "${diffId}" is ignored until it is pulled again: ${messageOf(cause)}`);
    }
  }
  return index;
}
