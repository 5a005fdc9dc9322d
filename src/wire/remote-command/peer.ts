import type { Readable, Writable } from "node:stream";
import { finished } from "node:stream/promises";
import type { Size } from "./sizes.ts";
import type { CommandEnd } from "./status.ts";

/** The streams that the client of a command requested. */
export interface CommandChoice {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly terminal: boolean;
}

/** The client's ends of a command's streams; undefined if not requested. */
export interface CommandStreams {
  readonly stdin?: Readable | undefined;
  readonly stdout?: Writable | undefined;
  readonly stderr?: Writable | undefined;
  readonly sizes: AsyncIterable<Size>;
}

/** The client of one exec or attach, over any protocol. */
export interface CommandPeer {
  readonly streams: CommandStreams;
  /** Aborted when the client disconnects before it has received the end. */
  readonly signal: AbortSignal;
  /** Ends the output streams, waits until everything is sent, sends the end of the command and closes. */
  finish(end: CommandEnd): Promise<void>;
}

/** Ends a stream and waits until its data is sent. Never throws: the client may have disconnected. */
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
