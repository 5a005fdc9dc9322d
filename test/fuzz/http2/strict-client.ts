/** A client of HTTP/2 that accepts only what RFC 9113 lets a server send. */
import assert from "node:assert/strict";

import { HeaderDecoder } from "../../../src/wire/http2/hpack/index.ts";
import { flag, frameType } from "../../../src/wire/http2/protocol.ts";
import type { FakeSocket } from "../../../src/wire/http2/testing/fake-socket.ts";
import type { RawFrame } from "../../../src/wire/http2/testing/raw-client.ts";

const frameHeadBytes = 9;

/** What the server has sent on a stream. */
interface Sent {
  hasHeaders: boolean;
  isOver: boolean;
  isReset: boolean;
  window: number;
}

/** Reads what the server sends as a strict client does. */
export class StrictClient {
  readonly streams = new Map<number, Sent>();
  window = 65_535;
  initialWindow = 65_535;
  pings = 0;
  settings = 0;
  #bytes: Buffer = Buffer.alloc(0);
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
