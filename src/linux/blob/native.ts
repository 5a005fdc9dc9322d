import { createHash } from "node:crypto";

import { RuntimeError } from "../../base/errors.ts";
import { addon, callNative } from "../addon.ts";

interface Handle {
  readonly __handle: never;
}

type Result = readonly [state: number, consumed: number, produced: number, fault: number];

interface Calls {
  inflateOpen(hashed: boolean): Handle | null;
  inflate(handle: Handle, input: Uint8Array, output: Uint8Array): Promise<Result>;
  sha256Open(): Handle | null;
  sha256Update(handle: Handle, bytes: Uint8Array): Promise<Result>;
  sha256Final(handle: Handle): string;
  sha256OpenPair(): Handle | null;
  sha256UpdatePair(handle: Handle, one: Uint8Array, other: Uint8Array): Promise<Result>;
  sha256FinalOf(handle: Handle, which: 0 | 1): string;
}

const calls = (): Calls => addon() as Calls;
const nothing = new Uint8Array(0);

/** As in native/blob.c. */
const states = ["more", "member-end", "padding", "failed"] as const;

/** Errors of headers (native/blob.c) and of ISA-L (igzip_lib.h), in the words of zlib. */
const faults: Readonly<Record<number, string>> = {
  1: "incorrect header check",
  2: "unknown compression method",
  3: "unknown header flags set",
  4: "header crc mismatch",
  [-1]: "invalid block type or code lengths set",
  [-2]: "invalid literal/length or distance code",
  [-3]: "invalid distance too far back",
  [-6]: "incorrect data check",
};

/** What one call of {@link GzipInflater.inflate} did. */
export interface Inflated {
  readonly consumed: number;
  readonly produced: number;
  /** `member-end`: the input may end here. `padding`: all further input is ignored; nothing may be called. */
  readonly state: "more" | "member-end" | "padding";
}

/** A gzip stream (RFC 1952) of any number of members, which ISA-L decompresses. */
export class GzipInflater {
  /**
   * The digests of the input and of the output, if it computes them. Their updates do nothing: all input that inflate()
   * and skip() get is in the first one, and all output in the second one.
   */
  readonly digests: readonly [input: Sha256, output: Sha256] | undefined;
  readonly #handle: Handle;

  /** main. `undefined` where the library is not installed, or was not when the addon was built. */
  static open(): GzipInflater | undefined {
    return GzipInflater.#open(false);
  }

  /**
   * As open(), with digests, which are computed on the same thread, together, while bytes are in the processor's cache.
   * `undefined` also where the processor has no instructions for that.
   */
  static openHashed(): GzipInflater | undefined {
    return GzipInflater.#open(true);
  }

  static #open(isHashed: boolean): GzipInflater | undefined {
    const handle = callNative(() => calls().inflateOpen(isHashed));
    return handle === null ? undefined : new GzipInflater(handle, isHashed);
  }

  private constructor(handle: Handle, isHashed: boolean) {
    this.#handle = handle;
    const digest = (which: 0 | 1): Sha256 => ({
      update: () => Promise.resolve(),
      hurry: () => undefined,
      digest: () => callNative(() => calls().sha256FinalOf(handle, which)),
    });
    this.digests = isHashed ? [digest(0), digest(1)] : undefined;
  }

  /**
   * pool. Decompresses input until it is consumed or `output` is full. One call at a time; no array may be changed or
   * transferred meanwhile. After a full output there may be more for the same input: call again, also with none.
   * Rejects with `invalid-argument` for corrupt input; the inflater is then of no use any more, except for skip(): all of
   * this input is in its digest.
   */
  async inflate(input: Uint8Array, output: Uint8Array): Promise<Inflated> {
    const [at, consumed, produced, fault] = await callNative(() =>
      calls().inflate(this.#handle, input, output),
    );
    const state = states[at] ?? "failed";
    if (state !== "failed") return { state, consumed, produced };
    await this.skip(input.subarray(consumed));
    throw new RuntimeError("invalid-argument", faults[fault] ?? `error ${fault}`);
  }

  /** pool. Adds input that is not decompressed to its digest, also after a failure. As inflate(), one call at a time. */
  async skip(input: Uint8Array): Promise<void> {
    if (this.digests === undefined) return;
    await callNative(() => calls().sha256UpdatePair(this.#handle, input, nothing));
  }
}

/** SHA-256 of bytes that arrive in pieces. */
export interface Sha256 {
  /** Resolves when the bytes may be changed. One at a time. */
  update(bytes: Uint8Array): Promise<void>;
  /** An update that waits for one of another digest begins now. */
  hurry(): void;
  /** In hex, once, when no update is in progress. */
  digest(): string;
}

/** pool; on the calling thread where Node.js comes without the functions of its OpenSSL. */
export function openSha256(): Sha256 {
  const handle = callNative(() => calls().sha256Open());
  return handle === null ? sha256Here() : new PoolSha256(handle);
}

/** As {@link openSha256}, on the calling thread. */
export function sha256Here(): Sha256 {
  const hash = createHash("sha256");
  return {
    update: (bytes) => {
      hash.update(bytes);
      return Promise.resolve();
    },
    hurry: () => undefined,
    digest: () => hash.digest("hex"),
  };
}

function checkDigested(state: number): void {
  if (states[state] === "failed") throw new RuntimeError("internal", "compute a digest: it failed");
}

class PoolSha256 implements Sha256 {
  readonly #handle: Handle;

  constructor(handle: Handle) {
    this.#handle = handle;
  }

  async update(bytes: Uint8Array): Promise<void> {
    const [at] = await callNative(() => calls().sha256Update(this.#handle, bytes));
    checkDigested(at);
  }

  hurry(): void {
    // It has begun.
  }

  digest(): string {
    return callNative(() => calls().sha256Final(this.#handle));
  }
}

/** Bytes that wait to be hashed. */
interface Offer {
  readonly bytes: Uint8Array;
  readonly done: () => void;
  readonly fail: (reason: unknown) => void;
}

/**
 * Two digests on one thread of the pool, which computes both at once where it can: that takes two thirds of the time.
 * So what the first one gets waits until the second one gets something, or for {@link Sha256.hurry}. `undefined` where
 * the processor has no instructions for that.
 */
export function openSha256Pair(): readonly [first: Sha256, second: Sha256] | undefined {
  const handle = callNative(() => calls().sha256OpenPair());
  return handle === null ? undefined : new Sha256Pair(handle).both;
}

class Sha256Pair {
  readonly both: readonly [Sha256, Sha256];
  readonly #handle: Handle;
  readonly #offers: [Offer | undefined, Offer | undefined] = [undefined, undefined];
  #isBusy = false;
  #isHurried = false;

  constructor(handle: Handle) {
    this.#handle = handle;
    this.both = [this.#one(0), this.#one(1)];
  }

  #one(which: 0 | 1): Sha256 {
    return {
      update: async (bytes) => {
        if (this.#offers[which] !== undefined) throw new TypeError("want one update at a time");
        const { promise, resolve, reject } = Promise.withResolvers<undefined>();
        this.#offers[which] = { bytes, done: () => resolve(undefined), fail: reject };
        if (which === 0) this.#isHurried = false;
        this.#start();
        await promise;
      },
      hurry: () => {
        this.#isHurried = true;
        this.#start();
      },
      digest: () => callNative(() => calls().sha256FinalOf(this.#handle, which)),
    };
  }

  #start(): void {
    const [first, second] = this.#offers;
    if (this.#isBusy || (second === undefined && !(this.#isHurried && first !== undefined))) return;
    this.#offers.fill(undefined);
    this.#isBusy = true;
    void this.#run(first, second);
  }

  async #run(first: Offer | undefined, second: Offer | undefined): Promise<void> {
    const [one, other] = [first?.bytes ?? nothing, second?.bytes ?? nothing];
    try {
      const [at] = await callNative(() => calls().sha256UpdatePair(this.#handle, one, other));
      checkDigested(at);
      for (const offer of [first, second]) offer?.done();
    } catch (error) {
      for (const offer of [first, second]) offer?.fail(error);
    }
    this.#isBusy = false;
    this.#start();
  }
}
