import type { Readable, Writable } from "node:stream";

import { markTransferable } from "../base/transferable.ts";
import { beforeAbort, within } from "../base/wait.ts";

/** How much is kept of output that the client does not get. */
const withheldBytes = 16 * 1024;
/** The most that a pipe can hold (pipe(7), pipe-max-size), and so the most that a command leaves in it at its end. */
const pipeBytes = 1024 * 1024;
const tickMs = 10;

/**
 * Carries output to a client with back-pressure. Without a client, or when the client closes its
 * stream, the output is read and dropped, so that its writer never blocks forever.
 */
export class Pump {
  /** True at the end of the output. */
  ended = false;
  /** True while the client takes nothing. */
  blocked = false;
  bytes = 0;
  /** Settles when the output has ended and everything that was read has been written; never rejects. */
  readonly done: Promise<void>;
  readonly #source: Readable | undefined;
  readonly #sink: Writable | undefined;
  readonly #gate: (() => Promise<boolean>) | undefined;
  readonly #withheld: Buffer[] = [];

  /** `gate` is called once, at the first output: false withholds all output from the client ({@link withheld}). */
  constructor(
    source: Readable | undefined,
    sink: Writable | undefined,
    gate?: () => Promise<boolean>,
  ) {
    this.#source = source;
    this.#sink = sink;
    this.#gate = gate;
    // When a client goes away, the signal of its operation is aborted.
    sink?.on("error", () => undefined);
    this.done = this.#run().finally(() => {
      this.ended = true;
    });
  }

  /** The first 16 KiB of the output that the client did not get. */
  get withheld(): Uint8Array {
    return Buffer.concat(this.#withheld).subarray(0, withheldBytes);
  }

  /** Stops reading; the output's writer gets EPIPE. */
  stop(): void {
    this.#source?.destroy();
  }

  async #run(): Promise<void> {
    let mayPass = this.#gate === undefined;
    let bytesLeft = withheldBytes;
    try {
      for await (const item of this.#source ?? []) {
        const chunk = item as Buffer;
        this.bytes += chunk.length;
        if (!mayPass && (this.#withheld.length > 0 || (await this.#gate?.()) !== true)) {
          if (bytesLeft > 0) this.#withheld.push(chunk);
          bytesLeft -= chunk.length;
          continue;
        }
        mayPass = true;
        await this.#write(chunk);
      }
    } catch {
      // The pump was stopped or the writer failed: either way there is no more output.
    }
  }

  async #write(chunk: Buffer): Promise<void> {
    const sink = this.#sink;
    markTransferable(chunk);
    if (sink === undefined || !isOpen(sink) || sink.write(chunk) || !isOpen(sink)) return;
    this.blocked = true;
    await writable(sink);
    this.blocked = false;
  }
}

/**
 * Waits until the outputs of a command that has ended are at their end, and so everything that it wrote
 * has been written to the client. A background process may hold them open and continue to write; so the wait
 * also ends after `quietMs` without output in all, or after more bytes than the pipes hold. The time for which
 * the client blocks does not count. Rejects when `signal` is aborted.
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
    if (await beforeAbort(within(done, tickMs), signal)) return;
    if (!pumps.some((pump) => pump.blocked && !pump.ended)) quiet += tickMs;
  }
  for (const pump of pumps) pump.stop();
  await beforeAbort(done, signal);
}

/**
 * Carries a client's input with back-pressure until the returned function is called. The end of the source ends the
 * sink, however it ends, even before this call. Without a sink the input is read and dropped, so that the client
 * does not block.
 */
export function feed(source: Readable | undefined, sink: Writable | undefined): () => void {
  if (sink === undefined) source?.resume();
  if (source === undefined || sink === undefined) return () => undefined;
  // The process may close its stdin and continue: then further input is dropped.
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
  // A stream that was reset before emits no more events.
  if (source.destroyed || source.readableEnded) onEnd();
  return () => {
    source.off("data", onData).off("end", onEnd).off("error", onEnd).off("close", onEnd);
    source.on("error", () => undefined);
    sink.off("drain", resume).off("close", resume);
  };
}

/** Ends the client's streams and waits until the client has taken all output, or closed the streams. */
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
