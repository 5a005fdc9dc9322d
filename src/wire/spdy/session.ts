// One SPDY/3.1 connection, of either side. Kubernetes carries exec, attach and port-forward over it;
// its implementation is moby/spdystream.
//
// NOTE(spdystream): it neither sends nor respects SETTINGS and WINDOW_UPDATE, and it reads only while
// all of its streams are read. So flow control is used only with peers that send SETTINGS, as this
// implementation does as client; with others only TCP limits a fast sender.
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { ReadThrottle } from "../mux/read-throttle.ts";
import { linger } from "../mux/linger.ts";
import { Outbox } from "../mux/outbox.ts";
import {
  type ControlFrame,
  dataHead,
  flagFin,
  FrameParser,
  frameType,
  goAwayFrame,
  goAwayStatus,
  numberAt,
  pingFrame,
  protocolError,
  resetFrame,
  resetStatus,
  streamIdOf,
  synReplyFrame,
  synStreamFrame,
} from "./frames.ts";
import { Flow, sessionWindow } from "./flow.ts";
import { HeaderReader, HeaderWriter, type SpdyHeaders } from "./headers.ts";
import { type SpdyCarrier, SpdyStream } from "./stream.ts";

/** Options of a session. */
export interface SpdySessionOptions {
  readonly transport: Duplex;
  readonly role: "client" | "server";
  /** Called for each stream that the peer opens; its headers say what it is for. Destroy it to refuse it. */
  readonly onStream?: (stream: SpdyStream) => void;
  /**
   * Called with the headers of a stream that the peer opens, before onStream. The peer is told that the stream is open when
   * the result settles, or at once where there is none.
   */
  readonly holdReply?: (headers: SpdyHeaders) => Promise<unknown> | undefined;
  /** Concurrent streams of both sides; more are refused. 1024. */
  readonly maxStreams?: number;
  /** Nothing is read while all streams together have more unread bytes. 4 MiB; 16 MiB with flow control. */
  readonly maxUnreadBytes?: number;
  /** How long a peer may take to close its end after everything was sent; 5 s. */
  readonly lingerMs?: number;
}

const maxStreamId = 2 ** 31 - 1;
interface Opening {
  readonly resolve: (stream: SpdyStream) => void;
  readonly reject: (error: Error) => void;
}

/** One connection and its streams. */
export class SpdySession {
  /** Resolves when the connection is closed; to the reason, unless it ended normally. */
  readonly closed: Promise<Error | undefined>;

  readonly #options: SpdySessionOptions;
  readonly #transport: Duplex;
  readonly #outbox: Outbox;
  readonly #flow: Flow;
  readonly #throttle: ReadThrottle;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #openings = new Map<number, Opening>();
  readonly #reader = new HeaderReader();
  readonly #writer = new HeaderWriter();
  readonly #resolveClosed: (reason: Error | undefined) => void;
  readonly #carrier: SpdyCarrier = {
    sendOn: (stream) => this.#flow.pump(stream),
    sendEndOf: (stream, sent) => this.#outbox.send([dataHead(stream.id, 0, true)], sent),
    consumedFrom: (stream, bytes) => {
      this.#throttle.remove(bytes);
      this.#flow.consumed(stream, bytes);
    },
    closed: (stream, isComplete) => this.#forget(stream, isComplete),
  };

  #lastPeerId = 0;
  #nextId: number;
  #nextPing: number;
  #isEnding = false;
  #peerIsLeaving = false;
  #isClosed = false;

  constructor(options: SpdySessionOptions) {
    this.#options = options;
    this.#transport = options.transport;
    this.#nextId = options.role === "client" ? 1 : 2;
    this.#nextPing = this.#nextId;
    ({ promise: this.closed, resolve: this.#resolveClosed } = Promise.withResolvers());
    this.#outbox = new Outbox(this.#transport);
    this.#flow = new Flow({
      outbox: this.#outbox,
      streams: this.#streams,
      send: (frame) => this.#sendNow(frame),
    });
    this.#throttle = new ReadThrottle({
      transport: this.#transport,
      limitBytes: options.maxUnreadBytes ?? 4 * 1024 * 1024,
      probe: () => this.ping(),
    });
    const parser = new FrameParser({
      control: (frame) => this.#control(frame),
      data: (id, piece, fin) => this.#data(id, piece, fin),
    });
    this.#transport.on("data", (chunk: Buffer) => this.#receive(parser, chunk));
    this.#transport.on("end", () => this.#connectionLost(undefined));
    this.#transport.on("error", (error) => this.#connectionLost(error));
    this.#transport.on("close", () => this.#connectionLost(undefined));
    if (options.role === "client") this.#flow.announce();
  }

  /** Bytes that were received and not read yet. */
  get unreadBytes(): number {
    return this.#throttle.unreadBytes;
  }

  /** The number of open streams. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Opens a stream. Resolves when the peer has accepted it; `unavailable` when it refuses or disconnects. */
  openStream(headers: SpdyHeaders): Promise<SpdyStream> {
    if (this.#isClosed || this.#isEnding || this.#peerIsLeaving || this.#nextId > maxStreamId) {
      return Promise.reject(
        new RuntimeError("unavailable", "open SPDY stream: connection is closed"),
      );
    }
    const id = this.#nextId;
    this.#nextId += 2;
    this.#makeStream(id, headers);
    const { promise, resolve, reject } = Promise.withResolvers<SpdyStream>();
    this.#openings.set(id, { resolve, reject });
    this.#sendNow(synStreamFrame(id, this.#writer.write(headers)));
    return promise;
  }

  /** Sends a PING, without waiting for the response. */
  ping(): void {
    this.#sendNow(pingFrame(this.#nextPing));
    this.#nextPing =
      this.#nextPing + 2 > maxStreamId ? 2 - (this.#nextPing & 1) : this.#nextPing + 2;
  }

  /**
   * Sends GOAWAY after all data, and closes. Data that the peer still sends is read and dropped
   * until it closes, too: closing with unread data would discard what the peer has not read yet.
   * Waits for a peer that reads slowly.
   */
  end(): void {
    if (this.#isEnding || this.#isClosed) return;
    this.#isEnding = true;
    this.#throttle.end();
    this.#transport.resume();
    const goAway = goAwayFrame(this.#lastPeerId, goAwayStatus.ok);
    this.#outbox.send([goAway], () =>
      this.#transport.end(() => linger(this.#transport, this.#options.lingerMs)),
    );
    for (const stream of [...this.#streams.values()]) stream.connectionLost(closedError());
  }

  /** Closes the connection at once. */
  destroy(reason?: Error): void {
    this.#connectionLost(reason);
    this.#transport.destroy();
  }

  #receive(parser: FrameParser, chunk: Buffer): void {
    if (this.#isClosed || this.#isEnding) return;
    try {
      parser.push(chunk);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** The peer violated the protocol: sends GOAWAY and closes the connection. */
  #fail(error: Error): void {
    if (this.#isClosed) return;
    this.#outbox.sendNow(goAwayFrame(this.#lastPeerId, goAwayStatus.protocolError));
    this.#connectionLost(error);
  }

  #connectionLost(reason: Error | undefined): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const error = reason instanceof RuntimeError ? reason : closedError(reason);
    this.#throttle.end();
    this.#outbox.connectionLost(error);
    for (const opening of this.#openings.values()) opening.reject(error);
    this.#openings.clear();
    for (const stream of [...this.#streams.values()]) stream.connectionLost(error);
    // Also while closing: when the peer has closed its end, there is no reason to wait longer.
    linger(this.#transport, this.#options.lingerMs);
    this.#isEnding = true;
    this.#transport.end();
    this.#resolveClosed(reason);
  }

  #sendNow(frame: Buffer): void {
    if (this.#isClosed || this.#transport.writableEnded) return;
    if (this.#outbox.sendNow(frame)) return;
    const why = "close SPDY connection: the peer does not read responses";
    this.destroy(new RuntimeError("resource-exhausted", why));
  }

  #control(frame: ControlFrame): void {
    if (this.#isClosed) return;
    const { type, payload } = frame;
    switch (type) {
      case frameType.synStream: {
        this.#synStream(frame);
        return;
      }
      case frameType.synReply: {
        this.#synReply(frame);
        return;
      }
      case frameType.headers:
        numberAt(payload, 0);
        this.#reader.read(payload.subarray(4)); // only to keep the state of the decompressor
        if ((frame.flags & flagFin) !== 0) this.#streams.get(streamIdOf(payload))?.receiveEnd();
        return;
      case frameType.rstStream: {
        this.#rstStream(payload);
        return;
      }
      case frameType.settings: {
        this.#settings(payload);
        return;
      }
      case frameType.ping:
        // Pings of this side's parity are responses (SPDY draft 3, 2.6.5).
        if (numberAt(payload, 0) % 2 !== this.#nextPing % 2)
          this.#sendNow(pingFrame(numberAt(payload, 0)));
        return;
      case frameType.goAway:
        numberAt(payload, 0);
        this.#peerIsLeaving = true;
        this.#endWhenEmpty();
        return;
      case frameType.windowUpdate: {
        this.#windowUpdate(payload);
        return;
      }
      default:
        return; // unknown types of frames are skipped (SPDY draft 3, 2.2.1)
    }
  }

  #synStream({ payload, flags }: ControlFrame): void {
    const id = streamIdOf(payload);
    numberAt(payload, 4);
    const headers = this.#reader.read(payload.subarray(10));
    const ofPeer = id % 2 !== this.#nextId % 2;
    if (id === 0 || !ofPeer) throw protocolError(`a stream opened as ${id}`);
    if (id <= this.#lastPeerId) throw protocolError(`stream ${id} opened again`);
    this.#lastPeerId = id;
    const { onStream, holdReply, maxStreams } = this.#options;
    if (
      onStream === undefined ||
      this.#peerIsLeaving ||
      this.#streams.size >= (maxStreams ?? 1024)
    ) {
      this.#sendNow(resetFrame(id, resetStatus.refusedStream));
      return;
    }
    const stream = this.#makeStream(id, headers);
    if ((flags & flagFin) !== 0) stream.receiveEnd();
    const reply = (): void => this.#sendNow(synReplyFrame(id, this.#writer.write(new Map())));
    const held = holdReply?.(headers);
    if (held === undefined) reply();
    onStream(stream);
    const replyLate = (): void => {
      if (this.#streams.get(id) === stream) reply();
    };
    held?.then(replyLate, replyLate);
  }

  #synReply({ payload, flags }: ControlFrame): void {
    const id = streamIdOf(payload);
    this.#reader.read(payload.subarray(4));
    const opening = this.#openings.get(id);
    const stream = this.#streams.get(id);
    if (opening === undefined || stream === undefined) return;
    this.#openings.delete(id);
    if ((flags & flagFin) !== 0) stream.receiveEnd();
    opening.resolve(stream);
  }

  #rstStream(payload: Buffer): void {
    const id = streamIdOf(payload);
    const status = numberAt(payload, 4);
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const error = new RuntimeError(
      "unavailable",
      `use SPDY stream: the peer reset it (status ${status})`,
    );
    this.#streams.delete(id); // never respond to a reset with a reset
    this.#openings.get(id)?.reject(error);
    this.#openings.delete(id);
    // NOTE(spdystream): its servers close a connection by resetting the streams that have not ended, including
    // the status of a command; its clients treat any reset as an end.
    if (this.#options.role === "client" && !this.#flow.isActive) stream.receiveEnd();
    // After the peer's end all data was received, though it may not have been read yet.
    if (stream.peerEnded) stream.connectionLost(error);
    else stream.destroy(error);
    this.#endWhenEmpty();
  }

  #settings(payload: Buffer): void {
    this.#throttle.limitBytes = this.#options.maxUnreadBytes ?? sessionWindow;
    const first = this.#flow.settings(payload);
    // A peer without flow control gets no window updates.
    if (first && this.#options.role === "server") this.#flow.announce();
  }

  #windowUpdate(payload: Buffer): void {
    const overflowing = this.#flow.windowUpdate(payload);
    if (overflowing !== undefined) this.#reset(overflowing, resetStatus.flowControlError);
  }

  #data(id: number, piece: Buffer, fin: boolean): void {
    if (this.#isClosed) return;
    const stream = this.#streams.get(id);
    const isWithinWindow = this.#flow.received(stream, piece.length);
    if (stream === undefined) {
      // Data that the peer sent before it knew that the stream has ended is dropped.
      const known = id % 2 === this.#nextId % 2 ? id < this.#nextId : id <= this.#lastPeerId;
      if (!known) throw protocolError(`data on stream ${id}, which was not opened`);
      return;
    }
    if (!isWithinWindow) {
      this.#reset(stream, resetStatus.flowControlError);
      return;
    }
    if (piece.length > 0) {
      this.#throttle.add(piece.length);
      if (!stream.receive(piece)) {
        this.#reset(stream, resetStatus.protocolError);
        return;
      }
    }
    if (fin) stream.receiveEnd();
  }

  #reset(stream: SpdyStream, status: number): void {
    this.#streams.delete(stream.id);
    this.#sendNow(resetFrame(stream.id, status));
    stream.destroy(protocolError(`stream ${stream.id} exceeded its limits`));
    this.#endWhenEmpty();
  }

  #forget(stream: SpdyStream, isComplete: boolean): void {
    stream.outgoing?.sent(closedError());
    stream.outgoing = undefined;
    if (!this.#streams.delete(stream.id)) return;
    this.#openings.get(stream.id)?.reject(closedError());
    this.#openings.delete(stream.id);
    // While the session ends, GOAWAY has the same meaning, and may still wait behind data.
    if (!isComplete && !this.#isEnding) this.#sendNow(resetFrame(stream.id, resetStatus.cancel));
    this.#endWhenEmpty();
  }

  #endWhenEmpty(): void {
    if (this.#peerIsLeaving && this.#streams.size === 0) this.end();
  }

  #makeStream(id: number, headers: SpdyHeaders): SpdyStream {
    const stream = new SpdyStream(this.#carrier, { id, headers, ...this.#flow.newWindows() });
    this.#streams.set(id, stream);
    return stream;
  }
}

function closedError(cause?: Error): RuntimeError {
  return new RuntimeError("unavailable", "use SPDY stream: the connection is closed", { cause });
}
