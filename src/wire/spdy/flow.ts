// The flow control of one session (SPDY drafts 3 and 3.1, 2.6.8): how much may be sent on each stream and
// in total, in both directions.
import type { Outbox } from "../mux/outbox.ts";
import {
  dataHead,
  initialWindowSetting,
  numberAt,
  protocolError,
  settingsFrame,
  streamIdOf,
  windowUpdateFrame,
} from "./frames.ts";
import type { SpdyStream } from "./stream.ts";

/** What a peer may send on a stream, and on all streams, before it gets a window update. */
const receiveWindow = 256 * 1024;
export const sessionWindow = 16 * 1024 * 1024;

const defaultWindow = 64 * 1024;
const maxWindow = 2 ** 31 - 1;
/** The largest data frame that is sent, so that other streams can send in between. */
const maxDataBytes = 64 * 1024;

/** Options of a Flow. */
export interface FlowOptions {
  readonly outbox: Outbox;
  readonly streams: ReadonlyMap<number, SpdyStream>;
  /** Sends a control frame. */
  readonly send: (frame: Buffer) => void;
}

/** Sends what the windows allow. Until the peer has sent SETTINGS, flow control is not active and there is no limit. */
export class Flow {
  readonly #options: FlowOptions;
  #isActive = false;
  #peerInitialWindow = defaultWindow;
  #sendWindow = defaultWindow;
  #uncredited = 0;

  constructor(options: FlowOptions) {
    this.#options = options;
  }

  /** Whether the peer uses flow control. */
  get isActive(): boolean {
    return this.#isActive;
  }

  /** The windows of a new stream. */
  newWindows(): { readonly sendWindow: number; readonly receiveWindow: number } {
    return { sendWindow: this.#peerInitialWindow, receiveWindow };
  }

  /** Sends the sizes of the windows to the peer, which also tells it that flow control is used. */
  announce(): void {
    this.#options.send(settingsFrame(receiveWindow));
    this.#options.send(windowUpdateFrame(0, sessionWindow - defaultWindow));
  }

  /** Handles SETTINGS. True for the first ones, which activate flow control. */
  settings(payload: Buffer): boolean {
    const { streams } = this.#options;
    const count = numberAt(payload, 0);
    if (payload.length !== 4 + 8 * count) throw protocolError("settings of another length");
    const first = !this.#isActive;
    this.#isActive = true;
    for (let offset = 4; offset < payload.length; offset += 8) {
      if ((numberAt(payload, offset) & 0xffffff) !== initialWindowSetting) continue;
      const size = numberAt(payload, offset + 4);
      if (size > maxWindow) throw protocolError("a window too large");
      for (const stream of streams.values()) stream.sendWindow += size - this.#peerInitialWindow;
      this.#peerInitialWindow = size;
    }
    for (const stream of streams.values()) this.pump(stream);
    return first;
  }

  /** Handles WINDOW_UPDATE. Returns the stream whose window overflows, which must be reset. */
  windowUpdate(payload: Buffer): SpdyStream | undefined {
    const { streams } = this.#options;
    const id = streamIdOf(payload);
    const bytes = numberAt(payload, 4) & 0x7fffffff;
    if (id === 0) {
      this.#sendWindow += bytes;
      if (this.#sendWindow > maxWindow) throw protocolError("a window that overflows");
      for (const stream of streams.values()) this.pump(stream);
      return undefined;
    }
    const stream = streams.get(id);
    if (stream === undefined) return undefined;
    stream.sendWindow += bytes;
    if (stream.sendWindow > maxWindow) return stream;
    this.pump(stream);
    return undefined;
  }

  /** Sends data of a stream, as far as windows and connection allow. */
  pump(stream: SpdyStream): void {
    for (;;) {
      const out = stream.outgoing;
      if (out === undefined || out.inFlight) return;
      const left = out.chunk.length - out.offset;
      if (left === 0) {
        stream.outgoing = undefined;
        out.sent();
        return;
      }
      const allowed = this.#isActive ? Math.min(stream.sendWindow, this.#sendWindow) : maxDataBytes;
      const length = Math.min(left, allowed, maxDataBytes);
      if (length <= 0) return;
      stream.sendWindow -= length;
      this.#sendWindow -= length;
      const piece = out.chunk.subarray(out.offset, out.offset + length);
      out.offset += length;
      out.inFlight = true;
      this.#options.outbox.send([dataHead(stream.id, length, false), piece], (error) => {
        if (stream.outgoing !== out) return; // the stream is closed, and its writer got the error
        out.inFlight = false;
        if (error === undefined) {
          this.pump(stream);
          return;
        }
        stream.outgoing = undefined;
        out.sent(error);
      });
    }
  }

  /**
   * Counts received data. The window of the connection is updated at once, because the windows of the streams
   * limit the sender. False when the peer exceeds the window of the stream.
   */
  received(stream: SpdyStream | undefined, bytes: number): boolean {
    if (!this.#isActive) return true;
    this.#uncredited += bytes;
    if (this.#uncredited >= sessionWindow / 4) {
      this.#options.send(windowUpdateFrame(0, this.#uncredited));
      this.#uncredited = 0;
    }
    if (stream === undefined) return true;
    stream.receiveWindow -= bytes;
    return stream.receiveWindow >= 0;
  }

  /** Counts data that was read. Updates are large steps: one for each read would double the number of frames. */
  consumed(stream: SpdyStream, bytes: number): void {
    if (!this.#isActive || stream.peerEnded || stream.destroyed) return;
    stream.receiveWindow += bytes;
    stream.uncredited += bytes;
    if (stream.uncredited < receiveWindow / 4) return;
    this.#options.send(windowUpdateFrame(stream.id, stream.uncredited));
    stream.uncredited = 0;
  }
}
