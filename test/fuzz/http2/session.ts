/** A connection of the server that is under test, with its handlers and its client. */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";

import { ServerConnection } from "../../../src/wire/http2/connection.ts";
import { encodeHeaders } from "../../../src/wire/http2/hpack/index.ts";
import { limits, SharedMemory } from "../../../src/wire/http2/limits.ts";
import { clientPreface, flag, frameType, setting } from "../../../src/wire/http2/protocol.ts";
import type { ServerStream } from "../../../src/wire/http2/stream.ts";
import { FakeSocket } from "../../../src/wire/http2/testing/fake-socket.ts";
import { type RawFrame, rawFrame } from "../../../src/wire/http2/testing/raw-client.ts";
import { pieces } from "../target.ts";
import { action } from "./steps.ts";
import { StrictClient } from "./strict-client.ts";

/** A stream of the server, with the order of its events. */
class Handler {
  readonly stream: ServerStream;
  isClosed = false;
  #isEnded = false;
  receivedBytes = 0;

  constructor(stream: ServerStream) {
    this.stream = stream;
    stream.handler = {
      onData: (part) => {
        this.#check("data");
        assert.ok(!this.#isEnded, "data after the end");
        this.receivedBytes += part.length;
      },
      onEnd: () => {
        this.#check("an end");
        assert.ok(!this.#isEnded, "two ends");
        this.#isEnded = true;
      },
      onDrain: () => this.#check("a drain"),
      onClose: () => {
        this.#check("another close");
        this.isClosed = true;
      },
    };
  }

  #check(what: string): void {
    assert.ok(!this.isClosed, `${what} after the close`);
  }
}

const okBlock = encodeHeaders([[":status", "200"]]);
const endBlock = encodeHeaders([["grpc-status", "0"]]);

/** What handlers do. A handler writes after its headers, as those of calls do. */
const handlerActions: Readonly<Record<number, (stream: ServerStream, step: RawFrame) => void>> = {
  [action.respond]: (stream, { flags }) => {
    if (!stream.headersSent) stream.respond(okBlock, flags % 2 === 1);
  },
  [action.write]: (stream, { flags, payload }) => {
    if (stream.headersSent) stream.write(Buffer.alloc(flags * 997 + payload.length));
  },
  [action.end]: (stream) => {
    if (stream.headersSent) stream.end(endBlock);
  },
  [action.reset]: (stream, { flags }) => stream.reset(flags),
  [action.pause]: (stream) => stream.pause(),
  [action.resume]: (stream) => stream.resume(),
  [action.reject]: (stream) => stream.rejectRest(),
};

/** Runs steps on a connection, and checks after each what must always hold. */
export class Session {
  readonly #memory = new SharedMemory();
  readonly #socket = new FakeSocket();
  readonly #client = new StrictClient();
  readonly #handlers: Handler[] = [];
  readonly #connection: ServerConnection;
  #closes = 0;

  constructor() {
    this.#connection = new ServerConnection({
      socket: this.#socket as unknown as Duplex,
      memory: this.#memory,
      onReady: () => undefined,
      onStream: (stream) => this.#handlers.push(new Handler(stream)),
      onMemoryFull: () => this.#connection.destroy(),
      onClose: () => (this.#closes += 1),
    });
  }

  async run(steps: Iterable<RawFrame>): Promise<void> {
    this.#send(clientPreface);
    for (const one of steps) {
      if (one.type < action.raw) this.#sendFrame(one);
      else await this.#act(one);
      this.#check();
    }
    await this.#turn();
    this.#check();
    await this.#end();
  }

  #sendFrame(one: RawFrame): void {
    const { type, flags, streamId, payload } = one;
    const client = this.#client;
    // Before it is read, what was written follows from the windows that it had.
    client.read(this.#socket);
    if (type === frameType.headers) client.open(streamId);
    if (type === frameType.ping && (flags & flag.ack) === 0) client.pings += 1;
    if (type === frameType.windowUpdate && payload.length === 4) {
      client.widen(streamId, payload.readUInt32BE(0) & 0x7fffffff);
    }
    if (type === frameType.settings && (flags & flag.ack) === 0) {
      client.settings += 1;
      for (let at = 0; at + 6 <= payload.length; at += 6) {
        if (payload.readUInt16BE(at) !== setting.initialWindowSize) continue;
        client.setInitialWindow(payload.readUInt32BE(at + 2));
      }
    }
    this.#send(rawFrame(type, flags, streamId, payload));
  }

  #send(bytes: Buffer): void {
    if (this.#socket.destroyed) return;
    for (const piece of pieces(bytes)) this.#socket.emit("data", piece);
  }

  async #act(one: RawFrame): Promise<void> {
    const { type, payload } = one;
    const stream = this.#handlers[one.streamId % Math.max(1, this.#handlers.length)]?.stream;
    if (stream !== undefined) handlerActions[type]?.(stream, one);
    if (type === action.stopReading) this.#socket.isReading = false;
    if (type === action.read) this.#socket.read();
    if (type === action.stop) this.#connection.stop();
    if (type === action.turn) await this.#turn();
    if (type !== action.raw) return;
    // Any bytes: the strict client does not follow them, so it reads no more.
    this.#client.read(this.#socket);
    this.#send(payload);
    this.#isModeled = false;
  }

  #isModeled = true;

  async #turn(): Promise<void> {
    await new Promise(setImmediate);
    if (this.#isModeled) this.#client.read(this.#socket);
    else this.#socket.written = [];
  }

  #check(): void {
    const { unsentBytes } = this.#connection;
    assert.equal(this.#memory.unsentBytes, unsentBytes);
    assert.ok(unsentBytes >= 0);
    assert.ok(this.#memory.unreadBytes >= 0);
    assert.ok(this.#memory.unreadBytes <= limits.maxUnreadBytes + limits.connectionWindowBytes);
    const open = this.#handlers.filter((handler) => !handler.isClosed).length;
    assert.ok(open <= limits.maxStreams, `${open} streams`);
    const sum = this.#handlers.reduce((bytes, { stream }) => bytes + stream.keptBytes, 0);
    assert.equal(sum, unsentBytes, "bytes of streams that are forgotten");
  }

  /** A client that reads has received all that its windows allow. */
  #checkProgress(): void {
    if (!this.#isModeled || this.#socket.writableEnded || this.#client.window <= 0) return;
    for (const { stream } of this.#handlers) {
      const window = this.#client.streams.get(stream.id)?.window ?? 0;
      assert.ok(stream.unsentBytes === 0 || window <= 0, "data that could be sent");
    }
  }

  /** Whatever happened, nothing is left when the connection is gone. */
  async #end(): Promise<void> {
    this.#socket.read();
    for (let turns = 0; turns < 3; turns++) await this.#turn();
    this.#checkProgress();
    this.#socket.destroy();
    await this.#turn();
    assert.equal(this.#closes, 1);
    assert.ok(
      this.#handlers.every(({ isClosed }) => isClosed),
      "a stream is left",
    );
    assert.deepEqual([this.#memory.unsentBytes, this.#memory.unreadBytes], [0, 0]);
  }
}
