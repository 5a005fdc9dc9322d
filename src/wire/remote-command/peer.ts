import type { Readable, Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { Size } from "./sizes.ts";
import type { CommandEnd } from "./status.ts";

/** Which streams the client of a command has. */
export interface CommandChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
}

/** The client's ends of a command's streams; those that it did not choose are undefined. */
export interface CommandStreams {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  readonly sizes: AsyncIterable<Size>;
}

/** The client of one exec or attach, whatever protocol it speaks. */
export interface CommandPeer {
  readonly streams: CommandStreams;
  /** Aborted when the client goes away before it was told the end. */
  readonly signal: AbortSignal;
  /** Ends the streams of output, waits until all of them is sent, tells the end and says good-bye. */
  finish(end: CommandEnd): Promise<void>;
}

/** Ends a writable and waits until what it was given is sent. Never throws: a client may be gone. */
export async function endAndFlush(stream: Writable | undefined, last?: string): Promise<void> {
  if (stream === undefined || stream.destroyed) return;
  const flushed = finished(stream, { readable: false }).catch(() => undefined);
  if (!stream.writableEnded) stream.end(last === "" ? undefined : last);
  await flushed;
}

/** Sizes of a client that has no terminal. */
export async function* noSizes(): AsyncGenerator<Size, void, undefined> {
  // Ends at once.
}
