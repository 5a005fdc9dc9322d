/**
 * A connection of the HTTP/2 server, as a sequence of frames of a client, of what handlers do, and of a client that reads
 * or does not. Lengths of frames are right, so that mutations reach what is behind them. A strict client reads what the
 * server sends. The target `http2` has any bytes, in any chunks.
 */
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";

import fc from "fast-check";

import { ServerConnection } from "../../../src/wire/http2/connection.ts";
import { encodeHeaders, HeaderDecoder } from "../../../src/wire/http2/hpack/index.ts";
import { limits, SharedMemory } from "../../../src/wire/http2/limits.ts";
import { clientPreface, flag, frameType, setting } from "../../../src/wire/http2/protocol.ts";
import type { ServerStream } from "../../../src/wire/http2/stream.ts";
import { FakeSocket } from "../../../src/wire/http2/testing/fake-socket.ts";
import { number32, type RawFrame, rawFrame } from "../../../src/wire/http2/testing/raw-client.ts";
import { type FuzzTarget, pieces } from "../target.ts";

const frameHeadBytes = 9;

/** What a step does beyond sending a frame whose type is the number. */
const action = {
  raw: 0x20,
  respond: 0x21,
  write: 0x22,
  end: 0x23,
  reset: 0x24,
  pause: 0x25,
  resume: 0x26,
  reject: 0x27,
  stopReading: 0x28,
  read: 0x29,
  turn: 0x2a,
  stop: 0x2b,
} as const;

/** A step: type, flags and stream id have a byte each, the length of the payload two. */
function* stepsOf(input: Buffer): Generator<RawFrame> {
  for (let at = 0; at + 5 <= input.length; ) {
    const end = at + 5 + input.readUInt16BE(at + 3);
    yield {
      type: input.readUInt8(at),
      flags: input.readUInt8(at + 1),
      streamId: input.readUInt8(at + 2),
      payload: input.subarray(at + 5, end),
    };
    at = end;
  }
}

function step(type: number, flags: number, streamId: number, payload: Buffer = none): Buffer {
  const head = Buffer.from([type, flags, streamId, 0, 0]);
  head.writeUInt16BE(payload.length, 3);
  return Buffer.concat([head, payload]);
}

const none = Buffer.alloc(0);

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

/** What the server has sent on a stream. */
interface Sent {
  hasHeaders: boolean;
  isOver: boolean;
  isReset: boolean;
  window: number;
}

/** Reads what the server sends as a strict client does. */
class StrictClient {
  readonly streams = new Map<number, Sent>();
  window = 65_535;
  initialWindow = 65_535;
  pings = 0;
  settings = 0;
  #bytes: Buffer = none;
  #isGone = false;
  #openBlock = 0;
  #blocks = 0;
  readonly #decoder = new HeaderDecoder({
    maxTableBytes: 4096,
    maxListBytes: 64 * 1024,
    maxPairs: 64,
  });

  read(socket: FakeSocket): void {
    this.#bytes = Buffer.concat([this.#bytes, ...socket.written]);
    socket.written = [];
    while (this.#bytes.length >= frameHeadBytes) {
      const end = frameHeadBytes + this.#bytes.readUIntBE(0, 3);
      assert.ok(end <= frameHeadBytes + 16_384, "a frame that is too large");
      if (this.#bytes.length < end) break;
      assert.ok(!this.#isGone, "a frame after GOAWAY with an error");
      this.#frame({
        type: this.#bytes.readUInt8(3),
        flags: this.#bytes.readUInt8(4),
        streamId: this.#bytes.readUInt32BE(5),
        payload: Buffer.from(this.#bytes.subarray(frameHeadBytes, end)),
      });
      this.#bytes = this.#bytes.subarray(end);
    }
  }

  /** What has been received of a frame that is not complete. */
  get restBytes(): number {
    return this.#bytes.length;
  }

  /** The server knows of this window when it has read the frame. */
  widen(streamId: number, bytes: number): void {
    if (streamId === 0) this.window += bytes;
    const stream = this.streams.get(streamId);
    if (stream !== undefined) stream.window += bytes;
  }

  setInitialWindow(bytes: number): void {
    for (const stream of this.streams.values()) stream.window += bytes - this.initialWindow;
    this.initialWindow = bytes;
  }

  open(streamId: number): void {
    if (this.streams.has(streamId)) return;
    const window = this.initialWindow;
    this.streams.set(streamId, { hasHeaders: false, isOver: false, isReset: false, window });
  }

  #frame({ type, flags, streamId, payload }: RawFrame): void {
    if (this.#openBlock !== 0) assert.equal(type, frameType.continuation);
    switch (type) {
      case frameType.data: {
        const stream = this.#stream(streamId);
        assert.ok(stream.hasHeaders && !stream.isOver, "DATA before the headers or after the end");
        stream.window -= payload.length;
        this.window -= payload.length;
        assert.ok(payload.length === 0 || stream.window >= 0, "more than the stream's window");
        assert.ok(payload.length === 0 || this.window >= 0, "more than the window");
        if ((flags & flag.endStream) !== 0) stream.isOver = true;
        return;
      }
      case frameType.headers: {
        const stream = this.#stream(streamId);
        assert.ok(!stream.isOver, "HEADERS after the end");
        stream.hasHeaders = true;
        if ((flags & flag.endStream) !== 0) stream.isOver = true;
        assert.notEqual(flags & flag.endHeaders, 0);
        assert.ok(this.#decoder.decode(payload).length > 0);
        this.#blocks += 1;
        return;
      }
      case frameType.rstStream: {
        assert.equal(payload.length, 4);
        const stream = this.#stream(streamId);
        assert.ok(!stream.isReset, "a second RST_STREAM");
        stream.isReset = true;
        stream.isOver = true;
        return;
      }
      case frameType.settings:
        assert.equal(streamId, 0);
        if ((flags & flag.ack) !== 0) this.settings -= 1;
        assert.ok(this.settings >= 0, "an acknowledgment without SETTINGS");
        return;
      case frameType.ping:
        assert.equal(flags, flag.ack);
        this.pings -= 1;
        assert.ok(this.pings >= 0, "a response without PING");
        return;
      case frameType.goAway:
        assert.equal(streamId, 0);
        this.#isGone = payload.readUInt32BE(4) !== 0;
        return;
      case frameType.windowUpdate:
        assert.ok(payload.readUInt32BE(0) > 0);
        return;
      default:
        assert.fail(`a frame of type ${type}`);
    }
  }

  #stream(streamId: number): Sent {
    const stream = this.streams.get(streamId);
    assert.ok(stream !== undefined, `a frame on stream ${streamId}, which is idle`);
    return stream;
  }
}

/** A connection, its handlers and its client. */
class Session {
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

const request = encodeHeaders([
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/runtime.v1.RuntimeService/Version"],
  [":authority", "localhost"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
]);
const settings = (id: number, value: number): Buffer =>
  step(frameType.settings, 0, 0, Buffer.concat([Buffer.from([0, id]), number32(value)]));
const update = (streamId: number, bytes: number): Buffer =>
  step(frameType.windowUpdate, 0, streamId, number32(bytes));
const hello = step(frameType.settings, 0, 0);
const both = flag.endHeaders | flag.endStream;
const open = (streamId: number, flags: number = both): Buffer =>
  step(frameType.headers, flags, streamId, request);

const streamIds = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(1, 3, 5, 7, 9) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
);
const bytes = fc.oneof(
  fc.constantFrom(0, 1, 100, 16_384, 65_535, 0x7fffffff, 0xffffffff),
  fc.integer({ min: 0, max: 200_000 }),
);
const anyFlags = fc.oneof(
  { weight: 9, arbitrary: fc.constantFrom(0, 1, 4, 5) },
  { weight: 1, arbitrary: fc.integer({ min: 0, max: 255 }) },
);
const payloads = fc.oneof(
  fc.uint8Array({ maxLength: 40 }).map((array) => Buffer.from(array)),
  fc.integer({ min: 0, max: 16_384 }).map((length) => Buffer.alloc(length, 1)),
);
const anyStep = fc.oneof(
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.constantFrom(0, 2, 4, 6, 7, 9, 10), anyFlags, streamIds, payloads)
      .map((parts) => step(...parts)),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(streamIds, payloads)
      .map(([id, payload]) => step(frameType.data, 0, id, payload)),
  },
  {
    weight: 8,
    arbitrary: fc.tuple(streamIds, fc.constantFrom(4, 4, 5)).map(([id, flags]) => open(id, flags)),
  },
  { weight: 3, arbitrary: streamIds.map((id) => step(frameType.data, 1, id)) },
  {
    weight: 3,
    arbitrary: streamIds.map((id) => step(frameType.rstStream, 0, id, Buffer.alloc(4))),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.oneof(fc.constant(0), streamIds), bytes)
      .map(([id, value]) => update(id, value)),
  },
  {
    weight: 2,
    arbitrary: fc
      .tuple(fc.integer({ min: 1, max: 8 }), bytes)
      .map(([id, value]) => settings(id, value)),
  },
  {
    weight: 20,
    arbitrary: fc
      .tuple(
        fc.integer({ min: action.respond, max: action.stop }),
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 0, max: 8 }),
      )
      .map(([type, flags, id]) => step(type, flags, id)),
  },
);

export const target: FuzzTarget = {
  name: "http2-steps",
  seeds: () => [
    // A stream that waits for its window, and one that waits for that of the connection.
    Buffer.concat([
      settings(setting.initialWindowSize, 0),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 99, 0),
      step(action.turn, 0, 0),
      update(1, 500),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      settings(setting.initialWindowSize, 1_000_000),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 99, 0),
      step(action.turn, 0, 0),
      update(0, 500),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      settings(setting.initialWindowSize, 1_000_000),
      update(0, 1_000_000),
      open(1),
      open(3),
      step(action.respond, 0, 0),
      step(action.respond, 0, 1),
      step(action.write, 255, 0),
      step(action.write, 255, 1),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      hello,
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 9, 0),
      step(action.end, 0, 0),
      step(action.turn, 0, 0),
    ]),
    Buffer.concat([
      hello,
      open(1, flag.endHeaders),
      step(action.pause, 0, 0),
      step(frameType.data, 0, 1, Buffer.alloc(900)),
      step(action.resume, 0, 0),
      step(frameType.data, 1, 1),
    ]),
    Buffer.concat([
      settings(setting.initialWindowSize, 0),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 99, 0),
      update(1, 500),
      step(action.turn, 0, 0),
      step(frameType.rstStream, 0, 1, Buffer.alloc(4)),
    ]),
    Buffer.concat([
      hello,
      step(action.stopReading, 0, 0),
      open(1),
      step(action.respond, 0, 0),
      step(action.write, 255, 0),
      step(action.turn, 0, 0),
      step(action.stop, 0, 0),
      step(action.read, 0, 0),
    ]),
    Buffer.concat([
      hello,
      step(frameType.headers, 0, 1, request.subarray(0, 9)),
      step(frameType.continuation, 4, 1, request.subarray(9)),
      step(action.reject, 0, 0),
      step(action.respond, 1, 0),
    ]),
    Buffer.concat([
      hello,
      step(frameType.ping, 0, 0, Buffer.alloc(8)),
      step(frameType.goAway, 0, 0, Buffer.alloc(8)),
      step(frameType.priority, 0, 1, Buffer.alloc(5)),
      step(action.raw, 0, 0, rawFrame(0, 8, 1, Buffer.alloc(20, 1))),
    ]),
  ],
  words: [
    hello,
    open(1),
    open(3),
    open(5, flag.endHeaders),
    step(action.respond, 0, 0),
    step(action.write, 255, 0),
    step(action.end, 0, 0),
    step(action.turn, 0, 0),
    update(0, 100_000),
    update(1, 0x7fffffff),
    settings(setting.initialWindowSize, 0),
  ].map((word) => word.toString("latin1")),
  structured: fc
    .array(anyStep, { maxLength: 60, size: "max" })
    .map((steps) => Buffer.concat([hello, ...steps])),
  maxBytes: 64 * 1024,
  limitMs: (length) => 1000 + length / 8,
  check: async (input) => {
    await new Session().run(stepsOf(input));
  },
};
