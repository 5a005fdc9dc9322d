import type { Readable, Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";

import { markTransferable } from "../base/transferable.ts";
import { beforeAbort } from "../base/wait.ts";

/** How much of an output that nobody may read is kept for an error. */
const wordsBytes = 16 * 1024;
/** The most that a pipe can hold (pipe(7), pipe-max-size), and so have of a command that has ended. */
const pipeBytes = 1024 * 1024;
const tickMs = 10;

/**
 * Carries an output to its client with back-pressure. Without a client, or when that closes its
 * stream, the output is read and dropped, so that its writer never waits for nobody.
 */
export class Pump {
  /** True at the end of the output. */
  ended = false;
  /** True while the client takes nothing. */
  blocked = false;
  bytes = 0;
  /** Settles at the end of the output; never rejects. What was read has been written then. */
  readonly done: Promise<void>;
  readonly #source: Readable | undefined;
  readonly #sink: Writable | undefined;
  readonly #gate: (() => Promise<boolean>) | undefined;
  readonly #words: Buffer[] = [];

  /**
   * `gate` is asked once, at the first output: false keeps all of it from the client, as {@link words}.
   */
  constructor(
    source: Readable | undefined,
    sink: Writable | undefined,
    gate?: () => Promise<boolean>,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#gate = gate;
    // A client that goes away is told by the signal of its operation.
    sink?.on("error", () => undefined);
    this.done = this.#run().finally(() => {
      this.ended = true;
    });
  }

  /** The beginning of an output that was kept from the client. */
  get words(): Uint8Array {
    return Buffer.concat(this.#words).subarray(0, wordsBytes);
  }

  /** Reads no more; the output's writer gets EPIPE. */
  stop(): void {
    this.#source?.destroy();
  }

  async #run(): Promise<void> {
    let mayPass = this.#gate === undefined;
    let room = wordsBytes;
    try {
      for await (const item of this.#source ?? []) {
        const chunk = item as Buffer;
        this.bytes += chunk.length;
        if (!mayPass && (this.#words.length > 0 || (await this.#gate?.()) !== true)) {
          if (room > 0) this.#words.push(chunk);
          room -= chunk.length;
          continue;
        }
        mayPass = true;
        await this.#give(chunk);
      }
    } catch {
      // It was stopped, or what wrote is gone: either way there is no more.
    }
  }

  async #give(chunk: Buffer): Promise<void> {
    const sink = this.#sink;
    markTransferable(chunk);
    if (sink === undefined || !isOpen(sink) || sink.write(chunk) || !isOpen(sink)) return;
    this.blocked = true;
    await writable(sink);
    this.blocked = false;
  }
}

/**
 * Waits until the outputs of a command that has ended are at their end: all that it wrote has been
 * written to the client then. What it left in the background may hold them open and write on; so
 * they also end once nothing has come for `quietMs` in all, or more than a pipe holds. The time
 * that the client takes does not count. Rejects when `signal` is aborted.
 */
export async function drain(
  pumps: readonly Pump[],
  quietMs: number,
  signal: AbortSignal,
): Promise<void> {
  const done = Promise.all(pumps.map((pump) => pump.done)).then(() => true);
  const sum = (): number => pumps.reduce((bytes, pump) => bytes + pump.bytes, 0);
  const limit = sum() + pumps.length * pipeBytes;
  for (let quiet = 0; quiet < quietMs && sum() < limit; ) {
    const timer = new AbortController();
    const late = delay(tickMs, false, { signal: timer.signal }).catch(() => false);
    const isDone = await beforeAbort(Promise.race([done, late]), signal).finally(() => {
      timer.abort();
    });
    if (isDone) return;
    if (!pumps.some((pump) => pump.blocked && !pump.ended)) quiet += tickMs;
  }
  for (const pump of pumps) pump.stop();
  await beforeAbort(done, signal);
}

/**
 * Carries a client's input with back-pressure, until stopped. Its end ends the sink, whichever way it
 * came, and also when it had come before. Returns how to stop.
 */
export function feed(source: Readable | undefined, sink: Writable | undefined): () => void {
  if (source === undefined || sink === undefined) return () => undefined;
  // The process may close its stdin and go on: then what the client still sends is dropped.
  const onData = (chunk: Buffer): void => {
    if (isOpen(sink) && !sink.write(chunk)) source.pause();
  };
  const resume = (): void => {
    source.resume();
  };
  const onEnd = (): void => {
    if (isOpen(sink)) sink.end();
  };
  source.on("data", onData).on("end", onEnd).on("error", onEnd).on("close", onEnd);
  sink.on("drain", resume).on("close", resume);
  // A client that reset its stream before tells nothing more.
  if (source.destroyed || source.readableEnded) onEnd();
  return () => {
    source.off("data", onData).off("end", onEnd).off("error", onEnd).off("close", onEnd);
    source.on("error", () => undefined);
    sink.off("drain", resume).off("close", resume);
  };
}

/** Ends the client's streams and waits until it has taken all of them, or closed them. */
export async function finish(
  sinks: readonly (Writable | undefined)[],
  signal: AbortSignal,
): Promise<void> {
  const all = sinks.map(async (sink) => {
    if (sink === undefined || sink.destroyed || sink.writableFinished) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    for (const event of ["finish", "close", "error"]) {
      sink.once(event, () => {
        resolve(undefined);
      });
    }
    sink.end();
    await promise;
  });
  await beforeAbort(Promise.all(all), signal);
}

function isOpen(sink: Writable): boolean {
  return sink.writable && !sink.destroyed && !sink.writableEnded;
}

function writable(sink: Writable): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const events = ["drain", "close", "error"];
  const done = (): void => {
    for (const event of events) sink.off(event, done);
    resolve(undefined);
  };
  for (const event of events) sink.on(event, done);
  return promise;
}
