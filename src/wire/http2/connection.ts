// The server's side of one HTTP/2 connection: RFC 9113. Frames arrive by frame-parser.ts, requests are streams
// (stream.ts), send-queue.ts decides what is sent, and output.ts writes it. limits.ts says what a client may do.
import type { Duplex } from "node:stream";
import { FrameParser, type FrameSink, headerBlockOf } from "./frame-parser.ts";
import { goAwayFrame, numberFrame, pingAckFrame, settingsAckFrame } from "./frame-writer.ts";
import { type HeaderBlock, HeaderBlocks } from "./header-blocks.ts";
import { ClientBudget, earned, limits, type SharedMemory } from "./limits.ts";
import { Output } from "./output.ts";
import {
  checkFrame,
  clientPreface,
  ConnectionError,
  errorCode,
  flag,
  frameType,
} from "./protocol.ts";
import { ReceiveWindow } from "./receive-window.ts";
import { areTrailers, parseRequest } from "./request-head.ts";
import { ResetStreams } from "./reset-streams.ts";
import { SendQueue } from "./send-queue.ts";
import { applySettings, greeting } from "./settings.ts";
import { ServerStream, type StreamOwner } from "./stream.ts";

/** Options of a connection. The functions must not throw. */
export interface ConnectionOptions {
  /** A socket that was just accepted. */
  readonly socket: Duplex;
  /** That of all connections. */
  readonly memory: SharedMemory;
  /** The client has completed its preface: it speaks HTTP/2. Called once. */
  readonly onReady: () => void;
  /** A request begins. A stream whose handler is not set now drops its data. */
  readonly onStream: (stream: ServerStream) => void;
  /** More than the limit waits to be sent on all connections. */
  readonly onMemoryFull: () => void;
  /** The socket is closed; with the reason, if the connection did not end normally. Called once. */
  readonly onClose: (reason: Error | undefined) => void;
}

/** One connection of a client, and its streams. */
export class ServerConnection implements FrameSink, StreamOwner {
  readonly socket: Duplex;
  readonly budget = new ClientBudget();
  readonly sending: SendQueue;
  readonly #options: ConnectionOptions;
  readonly #output: Output;
  readonly #parser = new FrameParser(this);
  readonly #headers = new HeaderBlocks();
  readonly #receiving: ReceiveWindow;
  readonly #streams = new Map<number, ServerStream>();
  readonly #resetStreams = new ResetStreams();
  #prefaceBytes = 0;
  #isReady = false;
  #lastStreamId = 0;
  /** Characters of the headers of open streams. */
  #openHeaders = 0;
  /** The last stream that is processed, while the connection is stopping. */
  #stopId: number | undefined;
  #isLost = false;
  #reason: Error | undefined;
  /** The stream of the DATA frame that arrives; undefined if its data is dropped. */
  #dataStream: ServerStream | undefined;
  #dataFlags = 0;
  #frameBytes = 0;
  #paddingBytes = 0;

  constructor(options: ConnectionOptions) {
    const { socket, memory } = options;
    this.socket = socket;
    this.#options = options;
    this.sending = new SendQueue(memory, this.budget);
    this.#output = new Output(socket, this.sending);
    this.#receiving = new ReceiveWindow(memory, (bytes) => this.#sendWindow(0, bytes));
    socket.on("data", (chunk: Buffer) => this.#receive(chunk));
    socket.on("end", () => this.#lose(undefined));
    socket.on("error", (error) => this.#lose(error));
    socket.on("close", () => {
      this.#lose(undefined);
      options.onClose(this.#reason);
    });
    this.#reply(greeting);
  }

  /** Bytes of responses that wait for the client. */
  get unsentBytes(): number {
    return this.sending.unsentBytes;
  }

  /** Accepts no more streams, and closes the connection when the open ones have ended. */
  stop(): void {
    if (this.#stopId !== undefined || this.#isLost) return;
    this.#stopId = this.#lastStreamId;
    this.#reply(goAwayFrame(this.#lastStreamId, errorCode.noError));
    this.#endIfDone();
  }

  /** Closes the connection at once. */
  destroy(reason?: Error): void {
    this.#lose(reason);
    this.socket.destroy();
  }

  schedule(): void {
    this.#output.schedule();
    const { memory, onMemoryFull } = this.#options;
    if (memory.unsentBytes > limits.maxTotalUnsentBytes) onMemoryFull();
  }

  hold(bytes: number): boolean {
    return this.#receiving.hold(bytes);
  }

  sendWindowUpdate(stream: ServerStream, bytes: number): void {
    this.#sendWindow(stream.id, bytes);
  }

  sendReset(stream: ServerStream, code: number): void {
    this.#reply(numberFrame(frameType.rstStream, stream.id, code));
  }

  forget(stream: ServerStream): void {
    this.#streams.delete(stream.id);
    this.#openHeaders -= stream.head.size;
    if (!stream.hasReceivedEnd) this.#resetStreams.add(stream.id);
    if (this.#stopId !== undefined) this.#endIfDone();
  }

  onFrame(type: number, flags: number, streamId: number, payload: Buffer): void {
    this.#checkOrder(type, flags, streamId);
    switch (type) {
      case frameType.headers:
        checkFrame(streamId % 2 === 1, errorCode.protocolError, "HEADERS on an even stream");
        this.#received(this.#headers.begin(streamId, flags, headerBlockOf(flags, payload)));
        return;
      case frameType.continuation:
        this.#received(this.#headers.continue(flags, payload));
        return;
      case frameType.rstStream:
        this.#receiveReset(streamId, payload);
        return;
      case frameType.windowUpdate:
        this.#receiveWindow(streamId, payload);
        return;
      case frameType.settings:
        this.#receiveSettings(flags, streamId, payload);
        return;
      case frameType.ping:
        this.#receivePing(flags, streamId, payload);
        return;
      case frameType.pushPromise:
        throw new ConnectionError(errorCode.protocolError, "PUSH_PROMISE of a client");
      case frameType.goAway:
        checkFrame(streamId === 0, errorCode.protocolError, "GOAWAY on a stream");
        checkFrame(payload.length >= 8, errorCode.frameSizeError, "a short GOAWAY");
        break;
      case frameType.priority:
        checkFrame(streamId !== 0, errorCode.protocolError, "PRIORITY without a stream");
        checkFrame(payload.length === 5, errorCode.frameSizeError, "PRIORITY not of 5 bytes");
        break;
      default:
      // Unknown types are ignored: RFC 9113, section 4.1.
    }
    this.budget.idleFrame();
  }

  onData(streamId: number, flags: number, length: number): void {
    this.#checkOrder(frameType.data, flags, streamId);
    this.#checkNotIdle(streamId, "DATA");
    this.#receiving.receive(length);
    this.#dataFlags = flags;
    this.#frameBytes = length;
    this.#paddingBytes = length;
    const stream = this.#streams.get(streamId);
    if (stream === undefined) this.#checkWasReset(streamId, "DATA");
    this.#dataStream = stream?.receiveLength(length) === true ? stream : undefined;
  }

  onDataPart(part: Buffer): void {
    this.#paddingBytes -= part.length;
    this.#dataStream?.receive(part, (this.#dataFlags & flag.endStream) !== 0);
  }

  onDataEnd(): void {
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    this.#receiving.update();
    const isEnd = (this.#dataFlags & flag.endStream) !== 0;
    if (this.#paddingBytes === this.#frameBytes && !isEnd) this.budget.idleFrame();
    if (isEnd) stream?.receiveEnd();
    else if (this.#paddingBytes > 0) stream?.receivePadding(this.#paddingBytes);
  }

  #receive(chunk: Buffer): void {
    if (this.#isLost) return;
    try {
      const isBegun = this.#prefaceBytes === clientPreface.length;
      this.#parser.push(isBegun ? chunk : this.#readPreface(chunk));
    } catch (error) {
      this.#fail(error);
    }
  }

  #readPreface(chunk: Buffer): Buffer {
    const at = this.#prefaceBytes;
    const length = Math.min(chunk.length, clientPreface.length - at);
    const isRight = clientPreface.compare(chunk, 0, length, at, at + length) === 0;
    checkFrame(isRight, errorCode.protocolError, "the client does not speak HTTP/2");
    this.#prefaceBytes += length;
    return chunk.subarray(length);
  }

  /** SETTINGS is first, and nothing comes between the frames of a header block: RFC 9113, sections 3.4 and 4.3. */
  #checkOrder(type: number, flags: number, streamId: number): void {
    if (!this.#isReady) {
      const isFirst = type === frameType.settings && (flags & flag.ack) === 0;
      checkFrame(isFirst, errorCode.protocolError, "the first frame is not SETTINGS");
      return;
    }
    const { openStreamId } = this.#headers;
    if (openStreamId === 0) return;
    const isNext = type === frameType.continuation && streamId === openStreamId;
    checkFrame(isNext, errorCode.protocolError, "a frame between those of a header block");
  }

  #received(block: HeaderBlock | undefined): void {
    if (block === undefined) return;
    const { streamId } = block;
    const stream = this.#streams.get(streamId);
    if (stream !== undefined) receiveTrailers(stream, block);
    else if (streamId <= this.#lastStreamId) this.#checkWasReset(streamId, "HEADERS");
    else this.#open(block);
  }

  #open({ streamId, flags, fields }: HeaderBlock): void {
    const isEnd = (flags & flag.endStream) !== 0;
    this.#lastStreamId = streamId;
    if (this.#stopId !== undefined) {
      // The client knows from GOAWAY that this one is not processed.
      if (!isEnd) this.#resetStreams.add(streamId);
      this.budget.idleFrame();
      return;
    }
    if (this.#streams.size >= limits.maxStreams) {
      this.#refuse(streamId, isEnd, errorCode.refusedStream);
      return;
    }
    if (fields === undefined || this.sending.unsentBytes > limits.maxUnsentBytes) {
      this.#refuse(streamId, isEnd, errorCode.enhanceYourCalm);
      return;
    }
    const head = parseRequest(fields);
    if (head === undefined) {
      this.#resetUnopened(streamId, isEnd, errorCode.protocolError);
      this.budget.violation();
      return;
    }
    if (this.#openHeaders + head.size > limits.maxOpenHeaders) {
      this.#refuse(streamId, isEnd, errorCode.enhanceYourCalm);
      return;
    }
    this.#openHeaders += head.size;
    const stream = new ServerStream(streamId, head, this);
    this.#streams.set(streamId, stream);
    this.budget.earn(earned.stream);
    this.#options.onStream(stream);
    if (isEnd) stream.receiveEnd();
  }

  #refuse(streamId: number, isEnd: boolean, code: number): void {
    this.#resetUnopened(streamId, isEnd, code);
    this.budget.refusal();
  }

  #resetUnopened(streamId: number, isEnd: boolean, code: number): void {
    if (!isEnd) this.#resetStreams.add(streamId);
    this.#reply(numberFrame(frameType.rstStream, streamId, code));
  }

  #receiveReset(streamId: number, payload: Buffer): void {
    checkFrame(payload.length === 4, errorCode.frameSizeError, "RST_STREAM not of 4 bytes");
    this.#checkNotIdle(streamId, "RST_STREAM");
    const stream = this.#streams.get(streamId);
    stream?.close();
    this.#resetStreams.delete(streamId);
    if (stream === undefined) this.budget.idleFrame();
    else this.budget.reset();
  }

  #receiveWindow(streamId: number, payload: Buffer): void {
    checkFrame(payload.length === 4, errorCode.frameSizeError, "WINDOW_UPDATE not of 4 bytes");
    this.budget.idleFrame();
    const bytes = payload.readUInt32BE(0) & 0x7f_ff_ff_ff;
    if (streamId === 0) {
      checkFrame(bytes > 0, errorCode.protocolError, "WINDOW_UPDATE of 0 bytes");
      const isValid = this.sending.widen(bytes);
      checkFrame(isValid, errorCode.flowControlError, "a window beyond the limit of the protocol");
    } else {
      this.#checkNotIdle(streamId, "WINDOW_UPDATE");
      const stream = this.#streams.get(streamId);
      if (stream === undefined) return;
      if (bytes === 0) stream.violate(errorCode.protocolError);
      else if (!this.sending.widenStream(stream.outgoing, bytes)) {
        stream.violate(errorCode.flowControlError);
      }
    }
    this.#scheduleIfReady();
  }

  #receiveSettings(flags: number, streamId: number, payload: Buffer): void {
    checkFrame(streamId === 0, errorCode.protocolError, "SETTINGS on a stream");
    this.budget.idleFrame();
    if ((flags & flag.ack) !== 0) {
      checkFrame(payload.length === 0, errorCode.frameSizeError, "SETTINGS with an acknowledgment");
      return;
    }
    const { initialWindow } = this.sending;
    applySettings(payload, this.sending, this.#streams.values());
    if (this.sending.initialWindow !== initialWindow) {
      this.budget.windowsChanged(this.#streams.size);
    }
    this.#reply(settingsAckFrame);
    this.#scheduleIfReady();
    if (this.#isReady) return;
    this.#isReady = true;
    this.#options.onReady();
  }

  #receivePing(flags: number, streamId: number, payload: Buffer): void {
    checkFrame(streamId === 0, errorCode.protocolError, "PING on a stream");
    checkFrame(payload.length === 8, errorCode.frameSizeError, "PING not of 8 bytes");
    this.budget.idleFrame();
    if ((flags & flag.ack) === 0) this.#reply(pingAckFrame(payload));
  }

  #checkNotIdle(streamId: number, what: string): void {
    if (streamId % 2 === 1 && streamId <= this.#lastStreamId) return;
    const why = `${what} on stream ${streamId}, which is idle`;
    throw new ConnectionError(errorCode.protocolError, why);
  }

  /** A client may send on until it has read RST_STREAM. */
  #checkWasReset(streamId: number, what: string): void {
    this.budget.idleFrame();
    if (this.#resetStreams.has(streamId)) return;
    const why = `${what} on stream ${streamId}, which has ended`;
    throw new ConnectionError(errorCode.streamClosed, why);
  }

  #scheduleIfReady(): void {
    if (this.sending.isReady) this.#output.schedule();
  }

  #sendWindow(streamId: number, bytes: number): void {
    this.#reply(numberFrame(frameType.windowUpdate, streamId, bytes));
  }

  #reply(frame: Buffer): void {
    if (this.#isLost || this.#output.reply(frame)) return;
    const why = "the client does not read replies";
    this.#fail(new ConnectionError(errorCode.enhanceYourCalm, why));
  }

  #endIfDone(): void {
    if (this.#streams.size === 0 && !this.#isLost) this.#output.end();
  }

  /** Tells the client why, as far as it reads, and closes the connection. */
  #fail(error: unknown): void {
    const code = error instanceof ConnectionError ? error.code : errorCode.internalError;
    const frame = goAwayFrame(this.#stopId ?? this.#lastStreamId, code);
    this.#lose(error instanceof Error ? error : new Error(String(error)));
    if (this.socket.writableNeedDrain) {
      this.socket.destroy();
      return;
    }
    this.#output.reply(frame);
    this.#output.end();
  }

  /** All streams are over. */
  #lose(reason: Error | undefined): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#reason = reason;
    this.#parser.stop();
    for (const stream of [...this.#streams.values()]) stream.close();
  }
}

function receiveTrailers(stream: ServerStream, { flags, fields }: HeaderBlock): void {
  const isEnd = (flags & flag.endStream) !== 0;
  if (stream.hasReceivedEnd) stream.violate(errorCode.streamClosed);
  else if (fields === undefined) stream.violate(errorCode.enhanceYourCalm);
  else if (!isEnd || !areTrailers(fields)) stream.violate(errorCode.protocolError);
  else stream.receiveEnd();
}
