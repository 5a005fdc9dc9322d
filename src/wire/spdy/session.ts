// One SPDY/3.1 connection, of either side. Kubernetes carries exec, attach and port-forward over it;
// its implementation is moby/spdystream.
//
// NOTE(spdystream): it sends no SETTINGS, no WINDOW_UPDATE and heeds none, and reads on only while
// all of its streams are read. So windows are kept only with peers that send SETTINGS, as this one
// does as client; with the others TCP alone holds back whoever is too fast.
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { Intake } from "../mux/intake.ts";
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

/** What a session is made of. */
export interface SpdySessionOptions {
  readonly transport: Duplex;
  readonly role: "client" | "server";
  /** Told of each stream that the peer opens; its headers decide what it is. Destroy it to refuse. */
  readonly onStream?: (stream: SpdyStream) => void;
  /** Streams at once, of both sides; more are refused one by one. 1024. */
  readonly maxStreams?: number;
  /** Unread bytes of all streams above which nothing is read. 4 MiB; 16 where windows are kept. */
  readonly maxUnreadBytes?: number;
  /** How long a peer may take to close its end once all was sent to it; 5 s. */
  readonly lingerMs?: number;
}

const maxStreamId = 2 ** 31 - 1;
interface Opening {
  readonly resolve: (stream: SpdyStream) => void;
  readonly reject: (error: Error) => void;
}

/** One connection and its streams. */
export class SpdySession {
  /** Resolves when the connection is gone; to the reason, unless it ended as it should. */
  readonly closed: Promise<Error | undefined>;

  readonly #options: SpdySessionOptions;
  readonly #transport: Duplex;
  readonly #outbox: Outbox;
  readonly #flow: Flow;
  readonly #intake: Intake;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #openings = new Map<number, Opening>();
  readonly #reader = new HeaderReader();
  readonly #writer = new HeaderWriter();
  readonly #resolveClosed: (reason: Error | undefined) => void;
  readonly #carrier: SpdyCarrier = {
    sendOn: (stream) => this.#flow.pump(stream),
    sendEndOf: (stream, sent) => this.#outbox.send([dataHead(stream.id, 0, true)], sent),
    takenFrom: (stream, bytes) => {
      this.#intake.take(bytes);
      this.#flow.taken(stream, bytes);
    },
    goneFrom: (stream, whole) => this.#forget(stream, whole),
  };

  #lastPeerId = 0;
  #nextId: number;
  #nextPing: number;
  #ending = false;
  #peerLeaves = false;
  #gone = false;

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
      send: (frame) => this.#now(frame),
    });
    this.#intake = new Intake({
      transport: this.#transport,
      limitBytes: options.maxUnreadBytes ?? 4 * 1024 * 1024,
      probe: () => this.ping(),
    });
    const parser = new FrameParser({
      control: (frame) => this.#control(frame),
      data: (id, piece, fin) => this.#data(id, piece, fin),
    });
    this.#transport.on("data", (chunk: Buffer) => this.#receive(parser, chunk));
    this.#transport.on("end", () => this.#lose(undefined));
    this.#transport.on("error", (error) => this.#lose(error));
    this.#transport.on("close", () => this.#lose(undefined));
    if (options.role === "client") this.#flow.announce();
  }

  /** Bytes that came in and were not read. */
  get unreadBytes(): number {
    return this.#intake.heldBytes;
  }

  /** Streams that are open. */
  get streamCount(): number {
    return this.#streams.size;
  }

  /** Opens a stream. Resolves when the peer has accepted it; `unavailable` when it refuses or leaves. */
  openStream(headers: SpdyHeaders): Promise<SpdyStream> {
    if (this.#gone || this.#ending || this.#peerLeaves || this.#nextId > maxStreamId) {
      return Promise.reject(
        new RuntimeError("unavailable", "open SPDY stream: connection is closed"),
      );
    }
    const id = this.#nextId;
    this.#nextId += 2;
    this.#makeStream(id, headers);
    const { promise, resolve, reject } = Promise.withResolvers<SpdyStream>();
    this.#openings.set(id, { resolve, reject });
    this.#now(synStreamFrame(id, this.#writer.write(headers)));
    return promise;
  }

  /** Sends a PING; the answer is not waited for. */
  ping(): void {
    this.#now(pingFrame(this.#nextPing));
    this.#nextPing =
      this.#nextPing + 2 > maxStreamId ? 2 - (this.#nextPing & 1) : this.#nextPing + 2;
  }

  /**
   * Says good-bye behind what was written and closes. What the peer still sends is read and dropped
   * until it closes too: closing on unread bytes would take away from it what it has not read yet.
   * A peer that is slow to read is waited for, as while it was served.
   */
  end(): void {
    if (this.#ending || this.#gone) return;
    this.#ending = true;
    this.#intake.end();
    this.#transport.resume();
    const farewell = goAwayFrame(this.#lastPeerId, goAwayStatus.ok);
    this.#outbox.send([farewell], () =>
      this.#transport.end(() => linger(this.#transport, this.#options.lingerMs)),
    );
    for (const stream of [...this.#streams.values()]) stream.lose(closedError());
  }

  /** Cuts the connection off. */
  destroy(reason?: Error): void {
    this.#lose(reason);
    this.#transport.destroy();
  }

  #receive(parser: FrameParser, chunk: Buffer): void {
    if (this.#gone || this.#ending) return;
    try {
      parser.push(chunk);
    } catch (error) {
      this.#fail(error instanceof Error ? error : new Error(String(error)));
    }
  }

  /** The peer broke the protocol: it is told, and cut off. */
  #fail(error: Error): void {
    if (this.#gone) return;
    this.#outbox.sendNow(goAwayFrame(this.#lastPeerId, goAwayStatus.protocolError));
    this.#lose(error);
  }

  #lose(reason: Error | undefined): void {
    if (this.#gone) return;
    this.#gone = true;
    const error = reason instanceof RuntimeError ? reason : closedError(reason);
    this.#intake.end();
    this.#outbox.lose(error);
    for (const opening of this.#openings.values()) opening.reject(error);
    this.#openings.clear();
    for (const stream of [...this.#streams.values()]) stream.lose(error);
    // Also when it was ending: a peer that has closed its own end is waited for no longer.
    linger(this.#transport, this.#options.lingerMs);
    this.#ending = true;
    this.#transport.end();
    this.#resolveClosed(reason);
  }

  #now(frame: Buffer): void {
    if (this.#gone || this.#transport.writableEnded) return;
    if (this.#outbox.sendNow(frame)) return;
    const why = "close SPDY connection: the peer reads none of its answers";
    this.destroy(new RuntimeError("resource-exhausted", why));
  }

  #control(frame: ControlFrame): void {
    if (this.#gone) return;
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
        this.#reader.read(payload.subarray(4)); // only to keep the compression in step
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
        // Pings of the own parity are answers (SPDY draft 3, 2.6.5).
        if (numberAt(payload, 0) % 2 !== this.#nextPing % 2)
          this.#now(pingFrame(numberAt(payload, 0)));
        return;
      case frameType.goAway:
        numberAt(payload, 0);
        this.#peerLeaves = true;
        this.#endWhenEmpty();
        return;
      case frameType.windowUpdate: {
        this.#windowUpdate(payload);
        return;
      }
      default:
        return; // frames of types that one does not know are skipped (SPDY draft 3, 2.2.1)
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
    const { onStream, maxStreams } = this.#options;
    if (onStream === undefined || this.#peerLeaves || this.#streams.size >= (maxStreams ?? 1024)) {
      this.#now(resetFrame(id, resetStatus.refusedStream));
      return;
    }
    const stream = this.#makeStream(id, headers);
    if ((flags & flagFin) !== 0) stream.receiveEnd();
    this.#now(synReplyFrame(id, this.#writer.write(new Map())));
    onStream(stream);
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
    this.#streams.delete(id); // no reset in answer to a reset
    this.#openings.get(id)?.reject(error);
    this.#openings.delete(id);
    // NOTE(spdystream): a server with it closes a connection by resetting what it has not ended, the
    // status of a command among it; its own clients take any reset for an end.
    if (this.#options.role === "client" && !this.#flow.kept) stream.receiveEnd();
    // Behind the peer's end: what came before it is whole, though it may not have been read yet.
    if (stream.peerEnded) stream.lose(error);
    else stream.destroy(error);
    this.#endWhenEmpty();
  }

  #settings(payload: Buffer): void {
    this.#intake.limitBytes = this.#options.maxUnreadBytes ?? sessionWindow;
    const first = this.#flow.settings(payload);
    // A peer that does not keep windows is not bothered with them.
    if (first && this.#options.role === "server") this.#flow.announce();
  }

  #windowUpdate(payload: Buffer): void {
    const overflowing = this.#flow.windowUpdate(payload);
    if (overflowing !== undefined) this.#reset(overflowing, resetStatus.flowControlError);
  }

  #data(id: number, piece: Buffer, fin: boolean): void {
    if (this.#gone) return;
    const stream = this.#streams.get(id);
    const within = this.#flow.received(stream, piece.length);
    if (stream === undefined) {
      // Data that was under way when the stream ended here is dropped without a word.
      const known = id % 2 === this.#nextId % 2 ? id < this.#nextId : id <= this.#lastPeerId;
      if (!known) throw protocolError(`data on stream ${id}, which nobody opened`);
      return;
    }
    if (!within) {
      this.#reset(stream, resetStatus.flowControlError);
      return;
    }
    if (piece.length > 0) {
      this.#intake.add(piece.length);
      if (!stream.receive(piece)) {
        this.#reset(stream, resetStatus.protocolError);
        return;
      }
    }
    if (fin) stream.receiveEnd();
  }

  #reset(stream: SpdyStream, status: number): void {
    this.#streams.delete(stream.id);
    this.#now(resetFrame(stream.id, status));
    stream.destroy(protocolError(`stream ${stream.id} broke its limits`));
    this.#endWhenEmpty();
  }

  #forget(stream: SpdyStream, whole: boolean): void {
    stream.outgoing?.sent(closedError());
    stream.outgoing = undefined;
    if (!this.#streams.delete(stream.id)) return;
    this.#openings.get(stream.id)?.reject(closedError());
    this.#openings.delete(stream.id);
    // At the end of all of them the good-bye says it, and may still wait behind what they sent.
    if (!whole && !this.#ending) this.#now(resetFrame(stream.id, resetStatus.cancel));
    this.#endWhenEmpty();
  }

  #endWhenEmpty(): void {
    if (this.#peerLeaves && this.#streams.size === 0) this.end();
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
