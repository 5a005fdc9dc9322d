/** What was removed because nobody used it: a layer of an unfinished pull, or an image. */
export type CollectedKind = "layer" | "image";
/** Unused for too long, or because the file system was too full. */
export type CollectReason = "age" | "pressure";

/** How much of one kind was removed for one reason, since the start of the daemon. */
export interface CollectedCount {
  readonly kind: CollectedKind;
  readonly reason: CollectReason;
  readonly removed: number;
  /** Unpacked bytes that this frees. */
  readonly bytes: number;
}

/** Counts what was removed as unused. */
export class Collected {
  readonly #counts: CollectedCount[] = (["layer", "image"] as const).flatMap((kind) =>
    (["age", "pressure"] as const).map((reason) => ({ kind, reason, removed: 0, bytes: 0 })),
  );

  add(kind: CollectedKind, reason: CollectReason, bytes: number): void {
    const at = this.#counts.findIndex((each) => each.kind === kind && each.reason === reason);
    const count = this.#counts[at];
    if (count === undefined) return;
    this.#counts[at] = { kind, reason, removed: count.removed + 1, bytes: count.bytes + bytes };
  }

  /** One for each kind and reason. */
  counts(): readonly CollectedCount[] {
    return this.#counts;
  }
}
