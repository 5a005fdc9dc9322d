import type { IncomingMessage } from "node:http";

import { kindOf, RuntimeError } from "../../base/errors.ts";
import { markTransferable } from "../../base/transferable.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";
import { connectionFailure, HostFailure } from "./failure.ts";
import { closedEarly, UnreadBody } from "./unread-body.ts";

/** How slowly a body may arrive. */
export interface BodyPace {
  /** Longest wait for the next byte. */
  readonly idleTimeoutMs: number;
  /** A body that brings less than `minBytesPerSecond` over so much waiting is given up. */
  readonly rateWindowMs: number;
  readonly minBytesPerSecond: number;
}

/** How much is buffered before it is read; the socket is resumed up to this. */
const waitingBytes = 256 * 1024;
/** What is taken in one turn of the event loop: libuv alone would read 2 MiB before others have theirs. */
const bytesATurn = 256 * 1024;

/**
 * The bytes of an answer as they arrive. Chunks are transferable: their last reader may free them. Reads
 * no faster than it is read, and only the time spent waiting for the server counts against `pace`.
 * Closes the connection when left early.
 *
 * A {@link HostFailure} of kind `unavailable` for a body that stalls, trickles or breaks off; only
 * the last is retried immediately, since the others have used their time.
 */
export function readBody(
  message: IncomingMessage,
  pace: BodyPace,
): AsyncGenerator<Uint8Array, void, undefined> {
  return readChunks(new ChunkQueue(message), message, pace);
}

/** As {@link readBody}, of a body of `length` bytes. Where it can, it leaves them in the socket for their reader. */
export function readUnread(
  message: IncomingMessage,
  length: bigint | undefined,
  pace: BodyPace,
): AsyncGenerator<BlobChunk, void, undefined> {
  const unread = UnreadBody.of(message, length);
  return unread === undefined ? readBody(message, pace) : readChunks(unread, message, pace);
}

/** Where the chunks of a body come from. */
interface ChunkSource<Chunk> extends Disposable {
  next(): Promise<Chunk | undefined>;
}

async function* readChunks<Chunk extends BlobChunk>(
  chunks: ChunkSource<Chunk>,
  message: IncomingMessage,
  pace: BodyPace,
): AsyncGenerator<Chunk, void, undefined> {
  const idle = (): void => {
    const why = `sent nothing for ${pace.idleTimeoutMs / 1000} s`;
    message.destroy(new HostFailure("unavailable", why));
  };
  let timer = setTimeout(idle, pace.idleTimeoutMs);
  let waitingSince = performance.now();
  let waitedMs = 0;
  let bytes = 0;
  try {
    for (let chunk = await chunks.next(); chunk !== undefined; chunk = await chunks.next()) {
      clearTimeout(timer);
      waitedMs += performance.now() - waitingSince;
      bytes += chunk.length;
      if (waitedMs >= pace.rateWindowMs) {
        checkRate(bytes, waitedMs, pace);
        waitedMs = 0;
        bytes = 0;
      }
      yield chunk;
      waitingSince = performance.now();
      timer = setTimeout(idle, pace.idleTimeoutMs);
    }
  } catch (error) {
    // RuntimeErrors are what the timer, the signal or the check above destroyed the stream with.
    throw error instanceof RuntimeError ? error : connectionFailure(error);
  } finally {
    clearTimeout(timer);
    chunks[Symbol.dispose]();
    message.destroy();
  }
}

/**
 * The chunks of a message in order. The message's own iterator pauses and resumes the socket for each chunk,
 * which takes longer than all the work on a chunk here.
 */
class ChunkQueue implements ChunkSource<Uint8Array> {
  readonly #message: IncomingMessage;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #inTurn = 0;
  #end: { readonly error: Error | undefined } | undefined;
  #wake: (() => void) | undefined;

  constructor(message: IncomingMessage) {
    this.#message = message;
    if (message.destroyed) this.#over(message.errored ?? closedEarly());
    message.on("end", () => this.#over(undefined));
    message.on("error", (error) => this.#over(error));
    message.on("close", () => this.#over(closedEarly()));
    // Bytes, since no encoding was set.
    message.on("data", (chunk: Uint8Array) => {
      if (this.#inTurn === 0) setImmediate(() => this.#nextTurn());
      this.#waiting.push(chunk);
      this.#waitingBytes += chunk.length;
      this.#inTurn += chunk.length;
      if (this.#isFull) message.pause();
      this.#wake?.();
    });
  }

  /** `undefined` at the end. Rejects with the failure of the message at once, before buffered bytes. */
  async next(): Promise<Uint8Array | undefined> {
    while (this.#end?.error === undefined) {
      const chunk = this.#takeAll();
      this.#resume();
      if (chunk !== undefined) return chunk;
      if (this.#end !== undefined) return undefined;
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => resolve(undefined);
      await promise;
    }
    throw this.#end.error;
  }

  [Symbol.dispose](): void {
    this.#over(closedEarly());
  }

  #nextTurn(): void {
    this.#inTurn = 0;
    this.#resume();
  }

  #resume(): void {
    if (!this.#isFull && this.#message.isPaused()) this.#message.resume();
  }

  get #isFull(): boolean {
    return this.#inTurn >= bytesATurn || this.#waitingBytes >= waitingBytes;
  }

  /** In one array: with TLS, chunks have 16 KiB, and passing each of them on takes longer than a copy. */
  #takeAll(): Uint8Array | undefined {
    const [first, ...others] = this.#waiting;
    if (first === undefined) return undefined;
    let chunk = first;
    if (others.length > 0) {
      chunk = Buffer.allocUnsafeSlow(this.#waitingBytes);
      let at = 0;
      for (const part of this.#waiting) {
        chunk.set(part, at);
        at += part.length;
      }
    }
    this.#waiting = [];
    this.#waitingBytes = 0;
    markTransferable(chunk);
    return chunk;
  }

  /** The first outcome counts: later ones result from it. */
  #over(error: Error | undefined): void {
    this.#end ??= { error };
    this.#wake?.();
  }
}

function checkRate(bytes: number, waitedMs: number, pace: BodyPace): void {
  if ((bytes * 1000) / waitedMs >= pace.minBytesPerSecond) return;
  const seconds = (waitedMs / 1000).toFixed(1);
  throw new HostFailure(
    "unavailable",
    `is too slow: ${bytes} bytes in ${seconds} s, less than ${pace.minBytesPerSecond} bytes a second`,
  );
}

/** The whole body. `failed-precondition` for one that is larger than `maxBytes`; else as {@link readBody}. */
export async function readWhole(
  message: IncomingMessage,
  maxBytes: number,
  pace: BodyPace,
): Promise<Uint8Array> {
  // In one buffer: of a host that sends single bytes, chunks would take 300 times their size.
  let whole = Buffer.allocUnsafe(64 * 1024);
  let size = 0;
  for await (const chunk of readBody(message, pace)) {
    const end = size + chunk.length;
    if (end > maxBytes) {
      throw new HostFailure("failed-precondition", `sent more than ${maxBytes} bytes`);
    }
    if (end > whole.length) {
      const larger = Buffer.allocUnsafe(Math.max(end, 2 * whole.length));
      whole.copy(larger, 0, 0, size);
      whole = larger;
    }
    whole.set(chunk, size);
    size = end;
  }
  return whole.subarray(0, size);
}

/**
 * The beginning of an error answer's body as text. Never fails for what the server does, since
 * the status is what matters; only an abort is thrown.
 */
export async function readErrorText(message: IncomingMessage, pace: BodyPace): Promise<string> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const chunk of readBody(message, pace)) {
      chunks.push(chunk);
      size += chunk.length;
      if (size > 64 * 1024) break;
    }
  } catch (error) {
    if (kindOf(error) === "canceled" || kindOf(error) === "deadline-exceeded") throw error;
  }
  return Buffer.concat(chunks).toString("utf8");
}
