import type { Digest } from "../../base/digest.ts";

/**
 * Keeps the time of the last use of images across restarts. Losing it is harmless: an image without a recorded
 * use counts as used at the start.
 */
export interface ImageUseRecords {
  /** By image, milliseconds since 1970. Empty if nothing can be read. */
  load(): Promise<ReadonlyMap<Digest, number>>;
  /** Replaces all of them, without waiting for the disk. Never rejects. */
  save(uses: ReadonlyMap<Digest, number>): Promise<void>;
}
