import type { IncomingMessage } from "node:http";

import { isKind, messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { releaseTransferred } from "../../base/transferable.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";
import type { BlobStream, Descriptor } from "../../core/image/index.ts";
import { type BodyPace, readBody, readUnread } from "./body.ts";
import { afterRedirect, HostFailure } from "./failure.ts";
import { ConnectionRate, inPieces, type RangeOptions } from "./ranges.ts";
import type { RegistryHost } from "./registry-hosts.ts";

/** What a blob needs from the registry that it is read from. */
interface BlobRequests {
  readonly pace: BodyPace;
  readonly log: Logger;
  readonly signal: AbortSignal;
  readonly ranges: RangeOptions;
  /** Asks the hosts for bytes of the blob; `use` refuses an answer by throwing. */
  request(range: BlobRange, use: UseAnswer<OpenAnswer>): Promise<OpenAnswer>;
  /** Has the host asked after the others for a while. */
  avoid(host: RegistryHost): void;
  /** The error for the reader. */
  fail(host: string, error: unknown): Error;
}

/** Bytes of a blob that are requested. */
interface BlobRange {
  readonly begin: bigint;
  /** Where they end, if not where the blob does. */
  readonly end?: bigint;
  readonly signal: AbortSignal;
}

/** Reads an answer; `elsewhere` is the host that it comes from after a redirect. */
export type UseAnswer<T> = (
  message: IncomingMessage,
  host: RegistryHost,
  elsewhere: string | undefined,
) => T | Promise<T>;

/** An answer that begins at byte `begin` of the blob. */
interface OpenAnswer {
  readonly message: IncomingMessage;
  readonly host: RegistryHost;
  readonly elsewhere: string | undefined;
  readonly begin: bigint;
}

/** How often in a row a download is resumed with less than `worthwhileBytes` gained in between. */
const maxResumes = 3;
const worthwhileBytes = 1024n * 1024n;
/** How often a piece is requested. */
const maxPieceTries = 3;

/**
 * A blob that is read from a registry. When a host stalls, trickles or closes the connection, the
 * rest is requested by Range, from the next host where there is one. A host that does not support
 * Range sends the blob from its beginning, and the bytes that were read already are dropped.
 *
 * When one connection is slow and much is left, the rest is fetched in pieces by several requests side by side. If that
 * fails, it is read by one request again.
 */
export class RegistryBlob implements BlobStream {
  readonly sizeBytes: bigint;
  readonly chunks: AsyncIterable<BlobChunk>;
  readonly #blob: Descriptor;
  readonly #requests: BlobRequests;
  #answer: OpenAnswer | undefined;
  #mayUsePieces = true;

  /** Resolves once a host has begun to answer with the described blob. */
  static async open(blob: Descriptor, requests: BlobRequests): Promise<RegistryBlob> {
    const stream = new RegistryBlob(blob, requests);
    stream.#answer = await stream.#request(0n);
    return stream;
  }

  private constructor(blob: Descriptor, requests: BlobRequests) {
    this.sizeBytes = blob.sizeBytes;
    this.#blob = blob;
    this.#requests = requests;
    this.chunks = this.#read();
  }

  /** Closes the connection if the blob was not read to its end. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#answer?.message.destroy();
    return Promise.resolve();
  }

  async *#read(): AsyncGenerator<BlobChunk, void, undefined> {
    let position = 0n;
    let resumes = 0;
    let gained = 0n;
    for (let answer = this.#answer; answer !== undefined; answer = this.#answer) {
      try {
        for await (const chunk of this.#fromHosts(answer, position)) {
          position += BigInt(chunk.length);
          gained += BigInt(chunk.length);
          yield chunk;
        }
        return;
      } catch (cause) {
        const { host, elsewhere } = answer;
        const error = elsewhere === undefined ? cause : afterRedirect(cause, elsewhere);
        resumes = gained >= worthwhileBytes ? 1 : resumes + 1;
        gained = 0n;
        const isOver = this.#requests.signal.aborted || resumes > maxResumes;
        if (isOver || !isKind(error, "unavailable")) throw this.#requests.fail(host.name, error);
        this.#requests.log.warn("resuming a broken download", {
          host: host.name,
          blob: this.#blob.digest,
          position: Number(position),
          reason: messageOf(error),
        });
        this.#requests.avoid(host);
        this.#answer = await this.#request(position);
      }
    }
  }

  /** The blob from `position` on: by this answer, and by several requests when that is too slow. */
  async *#fromHosts(
    answer: OpenAnswer,
    position: bigint,
  ): AsyncGenerator<BlobChunk, void, undefined> {
    const rate = new ConnectionRate(this.#requests.ranges);
    let since = performance.now();
    let at = position;
    for await (const chunk of this.#rest(answer, position)) {
      at += BigInt(chunk.length);
      rate.add(chunk.length, performance.now() - since);
      const isSlow = this.#mayUsePieces && rate.needsHelp(this.sizeBytes - at);
      yield chunk;
      // Leaving the loop closes the connection.
      if (isSlow && takesRanges(answer.message)) break;
      since = performance.now();
    }
    if (at < this.sizeBytes) yield* this.#inPieces(answer.host, at);
  }

  async *#inPieces(host: RegistryHost, begin: bigint): AsyncGenerator<Uint8Array, void, undefined> {
    const { ranges, signal } = this.#requests;
    const fetch = (from: bigint, to: bigint, ended: AbortSignal): Promise<readonly Uint8Array[]> =>
      this.#piece(from, to, AbortSignal.any([signal, ended]));
    try {
      yield* inPieces({ begin, end: this.sizeBytes }, ranges, fetch);
    } catch (cause) {
      if (signal.aborted) throw cause;
      // The caller resumes where the bytes in order end.
      this.#mayUsePieces = false;
      const why = `cannot be asked for several parts at once: ${messageOf(cause)}`;
      throw new HostFailure("unavailable", why, { retryable: true, cause: host.name });
    }
  }

  /** Bytes of the blob as chunks; a part that is missing is requested again. */
  async #piece(from: bigint, to: bigint, signal: AbortSignal): Promise<readonly Uint8Array[]> {
    // In one buffer: of a host that sends single bytes, chunks would take 300 times their size.
    const piece = Buffer.allocUnsafe(Number(to - from));
    let at = from;
    for (let tries = 1; ; tries++) {
      try {
        const { message } = await this.#requests.request(
          { begin: at, end: to, signal },
          (answer, host, elsewhere) => {
            this.#checkPiece(answer, at, to);
            return { message: answer, host, elsewhere, begin: at };
          },
        );
        for await (const chunk of readBody(message, this.#requests.pace)) {
          const start = Number(at - from);
          at += BigInt(chunk.length);
          if (at > to) throw new HostFailure("data-loss", `sent more than the bytes to ${to}`);
          piece.set(chunk, start);
          releaseTransferred(chunk);
        }
        if (at === to) return [piece];
        throw new HostFailure("unavailable", `ended at byte ${at} instead of ${to}`);
      } catch (error) {
        if (signal.aborted || tries === maxPieceTries || !isKind(error, "unavailable")) throw error;
      }
    }
  }

  #checkPiece(message: IncomingMessage, from: bigint, to: bigint): void {
    if (message.statusCode !== 206) {
      throw new HostFailure("data-loss", `sent the whole blob for bytes ${from} to ${to}`);
    }
    this.#rangeOf(message, from);
    const length = lengthOf(message);
    if (length !== undefined && length > to - from) {
      throw new HostFailure("data-loss", `sent ${length} bytes for bytes ${from} to ${to}`);
    }
  }

  /** The bytes of an answer from `position` on. Fails unless they end where the blob does. */
  async *#rest(
    { message, begin, host }: OpenAnswer,
    position: bigint,
  ): AsyncGenerator<BlobChunk, void, undefined> {
    let at = begin;
    const { pace } = this.#requests;
    // Bytes that are dropped have to be read.
    const chunks =
      begin < position ? readBody(message, pace) : readUnread(message, lengthOf(message), pace);
    for await (const chunk of chunks) {
      const start = at;
      at += BigInt(chunk.length);
      if (at > this.sizeBytes) {
        throw new HostFailure("data-loss", `sent more than the blob's ${this.sizeBytes} bytes`);
      }
      if (at <= position) continue;
      const isSplit = start < position && chunk instanceof Uint8Array;
      yield isSplit ? chunk.subarray(Number(position - start)) : chunk;
    }
    if (at === this.sizeBytes) return;
    const why = `ended after ${at} of ${this.sizeBytes} bytes`;
    throw new HostFailure("unavailable", why, { retryable: true, cause: host.name });
  }

  #request(offset: bigint): Promise<OpenAnswer> {
    const range = { begin: offset, signal: this.#requests.signal };
    return this.#requests.request(range, (message, host, elsewhere) => {
      const isPart = message.statusCode === 206;
      const begin = isPart ? this.#rangeOf(message, offset) : 0n;
      const length = lengthOf(message);
      const wanted = this.sizeBytes - begin;
      // A partial response may be short; the rest is requested. A full response must have the exact size.
      const isWrong = isPart ? (length ?? 0n) > wanted : length !== wanted;
      if (length !== undefined && isWrong) {
        throw new HostFailure(
          "data-loss",
          `has ${length} bytes for a blob of ${this.sizeBytes} bytes (from byte ${begin})`,
        );
      }
      if (offset > 0n && !isPart) {
        this.#requests.log.warn("registry cannot resume, reading the blob from its beginning", {
          host: host.name,
          blob: this.#blob.digest,
          droppedBytes: Number(offset),
        });
      }
      return { message, host, elsewhere, begin };
    });
  }

  /** Where a partial answer begins (RFC 9110, section 14.4): at `offset`, or it is refused. */
  #rangeOf(message: IncomingMessage, offset: bigint): bigint {
    const header = message.headers["content-range"] ?? "";
    const [, begin = "", , total = ""] =
      /^bytes (\d{1,18})-(\d{1,18})\/(\d{1,18}|\*)$/.exec(header) ?? [];
    const isTotal = total === "*" || total === String(this.sizeBytes);
    if (begin === String(offset) && isTotal) return offset;
    throw new HostFailure(
      "data-loss",
      `sent ${JSON.stringify(header.slice(0, 80))} for bytes from ${offset} of ${this.sizeBytes}`,
    );
  }
}

/** True for a server that says so, or has answered with a part (RFC 9110, section 14.3). */
function takesRanges({ statusCode, headers }: IncomingMessage): boolean {
  return statusCode === 206 || headers["accept-ranges"] === "bytes";
}

/** The length of an answer by its header. */
export function lengthOf(message: IncomingMessage): bigint | undefined {
  const header = message.headers["content-length"];
  return header !== undefined && /^\d{1,18}$/.test(header) ? BigInt(header) : undefined;
}
