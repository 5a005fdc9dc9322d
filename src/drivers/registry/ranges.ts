/** When and how the rest of a blob is fetched by several requests side by side. */
export interface RangeOptions {
  /** Requests at once. 1: none side by side. */
  readonly requests: number;
  /** What one request asks for. So many bytes for each request wait in memory. */
  readonly pieceBytes: number;
  /** A smaller rest is not worth it. */
  readonly minBytes: number;
  /** After so many bytes it is known how fast one connection is. */
  readonly sampleBytes: number;
  /** One connection that is as fast as this is enough: this node, and not the line, is the limit. */
  readonly enoughBytesPerSecond: number;
}

export const defaultRanges: RangeOptions = {
  requests: 4,
  pieceBytes: 4 * 2 ** 20,
  minBytes: 64 * 2 ** 20,
  sampleBytes: 4 * 2 ** 20,
  enoughBytesPerSecond: 100e6,
};

/** How fast a connection is, by the time that its reader waits for it. */
export class ConnectionRate {
  readonly #options: RangeOptions;
  #bytes = 0;
  #waitedMs = 0;

  constructor(options: RangeOptions) {
    this.#options = options;
  }

  add(bytes: number, waitedMs: number): void {
    this.#bytes += bytes;
    this.#waitedMs += waitedMs;
  }

  /** True when the `rest` of a blob should be fetched by several requests. */
  needsHelp(rest: bigint): boolean {
    const { requests, minBytes, sampleBytes, enoughBytesPerSecond } = this.#options;
    if (requests < 2 || this.#bytes < sampleBytes || rest < BigInt(minBytes)) return false;
    return this.#bytes * 1000 < this.#waitedMs * enoughBytesPerSecond;
  }
}

/**
 * The bytes from `begin` to `end` in order, in pieces that `fetch` gets side by side. The first failure is
 * that of the generator. Ending it early, or a failure, aborts all pieces.
 */
export async function* inPieces(
  { begin, end }: { readonly begin: bigint; readonly end: bigint },
  { requests, pieceBytes }: RangeOptions,
  fetch: (from: bigint, to: bigint, signal: AbortSignal) => Promise<readonly Uint8Array[]>,
): AsyncGenerator<Uint8Array, void, undefined> {
  const ended = new AbortController();
  const pieces: Promise<readonly Uint8Array[]>[] = [];
  let next = begin;
  const start = (): void => {
    if (next >= end) return;
    const from = next;
    next = from + BigInt(pieceBytes) < end ? from + BigInt(pieceBytes) : end;
    const piece = fetch(from, next, ended.signal);
    // Its failure is handled in its turn.
    piece.catch(() => undefined);
    pieces.push(piece);
  };
  try {
    for (let count = 0; count < requests; count++) start();
    for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
      yield* await piece;
      start();
    }
  } finally {
    ended.abort();
  }
}
