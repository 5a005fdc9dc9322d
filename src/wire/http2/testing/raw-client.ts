// A ServerConnection on a real socket, and a client that sends any bytes and reads frames.
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServerConnection } from "../connection.ts";
import { encodeHeaders, type HeaderField } from "../hpack/index.ts";
import { SharedMemory } from "../limits.ts";
import { clientPreface, errorCode, flag, frameType } from "../protocol.ts";
import type { ServerStream, StreamHandler } from "../stream.ts";

/** A frame as it was received. */
export interface RawFrame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Buffer;
}

/** The bytes of a frame: RFC 9113, section 4.1. */
export function rawFrame(
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

/** The payload of a frame with one number. */
export function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** SETTINGS with one entry. */
export function settingFrame(id: number, value: number): Buffer {
  return rawFrame(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, id]), number32(value)]));
}

/** What a client sends first. */
export const clientGreeting: Buffer = Buffer.concat([
  clientPreface,
  rawFrame(frameType.settings, 0, 0),
]);

/** The headers of a request that is well-formed. */
export const requestFields: readonly HeaderField[] = [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/test"],
];

/** HEADERS of a request. */
export function requestFrame(
  streamId: number,
  isEnd = false,
  fields: readonly HeaderField[] = requestFields,
): Buffer {
  const flags = flag.endHeaders | (isEnd ? flag.endStream : 0);
  return rawFrame(frameType.headers, flags, streamId, encodeHeaders(fields));
}

/** DATA. */
export function dataFrame(streamId: number, data: Uint8Array, isEnd = false): Buffer {
  return rawFrame(frameType.data, isEnd ? flag.endStream : 0, streamId, data);
}

/** What happened on a stream of the server. */
export interface SeenStream {
  readonly stream: ServerStream;
  readonly received: Buffer[];
  hasEnded: boolean;
  isClosed: boolean;
}

/** The events of a server's stream, in `seen`. */
export function record(stream: ServerStream, seen: SeenStream[]): SeenStream {
  const one: SeenStream = { stream, received: [], hasEnded: false, isClosed: false };
  const handler: StreamHandler = {
    onData: (part) => void one.received.push(Buffer.from(part)),
    onEnd: () => (one.hasEnded = true),
    onDrain: () => undefined,
    onClose: () => (one.isClosed = true),
  };
  stream.handler = handler;
  seen.push(one);
  return one;
}

/** A connection of which one end is a ServerConnection. */
export class RawClient implements AsyncDisposable {
  readonly socket: Socket;
  readonly connection: ServerConnection;
  /** The streams of the server, oldest first. */
  readonly streams: SeenStream[];
  /** Resolves when the server has closed the connection, to its reason. */
  readonly closed: Promise<Error | undefined>;
  readonly #server: Server;
  readonly #directory: string;
  readonly #frames: RawFrame[] = [];
  #wake: (() => void) | undefined;

  private constructor(
    parts: Pick<RawClient, "socket" | "connection" | "streams" | "closed">,
    server: Server,
    directory: string,
  ) {
    this.socket = parts.socket;
    this.connection = parts.connection;
    this.streams = parts.streams;
    this.closed = parts.closed;
    this.#server = server;
    this.#directory = directory;
    this.#read();
  }

  /** Connects. `onStream` is called for each stream, which is recorded already. */
  static async open(
    onStream: (stream: ServerStream) => void = () => undefined,
    memory: SharedMemory = new SharedMemory(),
  ): Promise<RawClient> {
    const directory = await mkdtemp(join(tmpdir(), "davit-"));
    const path = join(directory, "s.sock");
    const server = createServer();
    server.listen(path);
    await once(server, "listening");
    const accepted = once(server, "connection") as Promise<[Socket]>;
    const socket = connect(path);
    socket.on("error", () => undefined);
    const streams: SeenStream[] = [];
    const { promise: closed, resolve } = Promise.withResolvers<Error | undefined>();
    const connection = new ServerConnection({
      socket: (await accepted)[0],
      memory,
      onReady: () => undefined,
      onStream: (stream) => {
        record(stream, streams);
        onStream(stream);
      },
      onMemoryFull: () => undefined,
      onClose: resolve,
    });
    return new RawClient({ socket, connection, streams, closed }, server, directory);
  }

  /** Sends the greeting and these frames. */
  greet(...frames: readonly Buffer[]): void {
    this.send(clientGreeting, ...frames);
  }

  send(...frames: readonly Buffer[]): void {
    this.socket.write(Buffer.concat(frames));
  }

  /** The next frame of a type, on a stream if it is given. Frames before it are dropped. */
  async next(type: number, streamId?: number): Promise<RawFrame> {
    for (;;) {
      const frame = this.#frames.shift();
      if (frame === undefined) {
        assert.ok(
          !this.socket.destroyed,
          `the connection is closed before a frame of type ${type}`,
        );
        await new Promise<void>((resolve) => (this.#wake = resolve));
      } else if (frame.type === type && (streamId ?? frame.streamId) === frame.streamId) {
        return frame;
      }
    }
  }

  /** The server has handled everything that was sent: it answers a PING after it. */
  async settled(): Promise<void> {
    this.send(rawFrame(frameType.ping, 0, 0, Buffer.alloc(8)));
    await this.next(frameType.ping);
  }

  /** The code with which the server resets a stream. */
  async resetCode(streamId: number): Promise<number> {
    return (await this.next(frameType.rstStream, streamId)).payload.readUInt32BE(0);
  }

  /** The code with which the server ends the connection. */
  async goAwayCode(): Promise<number> {
    const code = (await this.next(frameType.goAway)).payload.readUInt32BE(4);
    if (code !== errorCode.noError) await this.closed;
    return code;
  }

  /** Data of a stream until its end, and how many frames it had. */
  async body(streamId: number): Promise<{ readonly data: Buffer; readonly frames: number }> {
    const parts: Buffer[] = [];
    for (;;) {
      const frame = this.#frames.shift();
      if (frame === undefined) {
        assert.ok(!this.socket.destroyed, "the connection is closed before the end of a response");
        await new Promise<void>((resolve) => (this.#wake = resolve));
        continue;
      }
      if (frame.streamId !== streamId) continue;
      if (frame.type === frameType.data) parts.push(frame.payload);
      if ((frame.flags & flag.endStream) !== 0 && frame.type !== frameType.rstStream) {
        return { data: Buffer.concat(parts), frames: parts.length };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    this.connection.destroy();
    await this.closed;
    await new Promise((resolve) => this.#server.close(resolve));
    await rm(this.#directory, { recursive: true, force: true });
  }

  #read(): void {
    let pending = Buffer.alloc(0);
    this.socket.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 9) {
        const end = 9 + pending.readUIntBE(0, 3);
        if (pending.length < end) break;
        const [type, flags] = [pending.readUInt8(3), pending.readUInt8(4)];
        const streamId = pending.readUInt32BE(5);
        this.#frames.push({ type, flags, streamId, payload: pending.subarray(9, end) });
        pending = pending.subarray(end);
      }
      this.#wake?.();
    });
    this.socket.on("close", () => this.#wake?.());
  }
}
