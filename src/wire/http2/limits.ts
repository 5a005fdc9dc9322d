// What a client of an HTTP/2 connection may do before it is refused, reset or disconnected.
import { performance } from "node:perf_hooks";
import { ConnectionError, errorCode } from "./protocol.ts";

const kibibyte = 1024;
const mebibyte = 1024 * kibibyte;

/** The limits of a connection: generous for a kubelet, small enough for a misbehaving client. */
export const limits = {
  /** Concurrent streams. A kubelet uses one connection for all calls. More are refused. */
  maxStreams: 1024,
  /** Bytes of request headers, as HPACK counts them. gRPC sends about 500; a request with more is reset. */
  maxHeaderListBytes: 16 * kibibyte,
  /** Characters of the headers of all open streams of a connection: 2 KiB for each. Beyond it new streams are refused. */
  maxOpenHeaders: 2 * mebibyte,
  /** Number of request headers; gRPC sends about 10. */
  maxHeaderPairs: 64,
  /** The dynamic table of HPACK: the default of the protocol. */
  headerTableBytes: 4096,
  /**
   * Bytes of one encoded header block, in HEADERS and CONTINUATION frames (CVE-2024-27316). It is more than is accepted,
   * so that a client with too many headers loses its call and not its connection.
   */
  maxHeaderBlockBytes: 96 * kibibyte,
  /** CONTINUATION frames of one header block. A client fills them. */
  maxContinuations: 16,
  /** Entries of one SETTINGS frame. The protocol defines about 10. */
  maxSettings: 32,
  /** Bytes that a client may send on a stream before it waits: a large request needs few round trips. */
  streamWindowBytes: mebibyte,
  /** The same for a connection; the streams share it. */
  connectionWindowBytes: 4 * mebibyte,
  /** Unsent bytes of a connection. Beyond it new streams are refused. It is enough for some of the largest responses. */
  maxUnsentBytes: 128 * mebibyte,
  /** Unsent bytes of all connections. Beyond it the connection with the most is closed. */
  maxTotalUnsentBytes: 512 * mebibyte,
  /** Bytes of a connection that handlers have not read. Beyond it the client may send no more. */
  maxUnreadBytes: 16 * mebibyte,
  /** The same for all connections; beyond it the stream that sends is reset. */
  maxTotalUnreadBytes: 256 * mebibyte,
  /** Bytes of replies (SETTINGS, PING, resets) that a client does not read. Beyond it the connection is closed. */
  maxReplyBytes: 64 * kibibyte,
  /** Streams that a client may reset, or that are reset for the memory of what it sends: a burst, and then a rate for each second (rapid reset, CVE-2023-44487). */
  resets: { burst: 2000, perSecond: 200 },
  /** Streams that the server resets because of what the client does on them (CVE-2025-8671). A correct client does not. */
  violations: { burst: 100, perSecond: 10 },
  /** Streams that are refused by the limits above. */
  refusals: { burst: 100, perSecond: 10 },
  /**
   * Frames that cost work and carry nothing (CVE-2019-9511, 9512, 9513, 9515, 9518): PING, SETTINGS, PRIORITY, unknown
   * frames, empty DATA, and WINDOW_UPDATE beyond what the data sent explains.
   */
  idleFrames: { burst: 10_000, perSecond: 1000 },
} as const;

/** What a stream, a message and data earn in `idleFrames`: clients respond to them with PING and WINDOW_UPDATE. */
export const earned = { stream: 4, message: 2, bytesPerFrame: 256 } as const;

/** A change of the windows of this many streams counts as much as a frame that carries nothing. */
const streamsPerIdleFrame = 8;

/** Something that may happen in bursts and at a rate. */
class Allowance {
  readonly #burst: number;
  readonly #perSecond: number;
  #left: number;
  #atMs = performance.now();

  constructor(rate: { readonly burst: number; readonly perSecond: number }) {
    this.#burst = rate.burst;
    this.#perSecond = rate.perSecond;
    this.#left = rate.burst;
  }

  /** Takes one. False when there is none left. */
  take(): boolean {
    if (this.#left < 1) this.#refill();
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }

  /** Adds some, up to the burst. */
  earn(count: number): void {
    this.#left = Math.min(this.#burst, this.#left + count);
  }

  #refill(): void {
    const now = performance.now();
    this.earn(((now - this.#atMs) / 1000) * this.#perSecond);
    this.#atMs = now;
  }
}

/** How often a client may do what a correct client seldom does. Each function throws a ConnectionError beyond that. */
export class ClientBudget {
  readonly #resets = new Allowance(limits.resets);
  readonly #violations = new Allowance(limits.violations);
  readonly #refusals = new Allowance(limits.refusals);
  readonly #idleFrames = new Allowance(limits.idleFrames);

  /** It has reset a stream. */
  reset(): void {
    if (!this.#resets.take()) throw tooMany("streams that the client resets");
  }

  /** One of its streams was reset, because of what it did on it. */
  violation(): void {
    if (!this.#violations.take()) throw tooMany("streams that violate the protocol");
  }

  /** One of its streams was refused. */
  refusal(): void {
    if (!this.#refusals.take()) throw tooMany("streams beyond the limits");
  }

  /** It has sent a frame that carries nothing. */
  idleFrame(): void {
    if (!this.#idleFrames.take()) throw tooMany("frames that carry nothing");
  }

  /**
   * It has changed the windows of this many streams by one frame, after which each may send a frame of a few bytes. A
   * client that learns how fast its connection is changes them a few times.
   */
  windowsChanged(streams: number): void {
    for (let count = streams; count > 0; count -= streamsPerIdleFrame) this.idleFrame();
  }

  /** Such frames are to be expected. */
  earn(frames: number): void {
    this.#idleFrames.earn(frames);
  }
}

function tooMany(what: string): ConnectionError {
  return new ConnectionError(errorCode.enhanceYourCalm, `too many ${what}`);
}

/** Bytes that all connections of a server hold for their clients. */
export class SharedMemory {
  unsentBytes = 0;
  unreadBytes = 0;
}
