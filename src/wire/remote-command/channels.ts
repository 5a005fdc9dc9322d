// Streams in the messages of one WebSocket: the first byte of each message is the channel of its stream
// (channel.k8s.io of Kubernetes and later versions).
import type { Duplex } from "node:stream";
import { RuntimeError } from "../../base/errors.ts";
import { MuxStream } from "../mux/mux-stream.ts";
import type { Sent } from "../mux/outbox.ts";
import { WebSocketConnection } from "../websocket/connection.ts";
import { closeCode, type MessagePiece, WebSocketError } from "../websocket/frames.ts";

/** How streams are encoded in messages. */
export interface ChannelProtocol {
  /** Text messages: the digit of the channel, and base64. */
  readonly base64: boolean;
  /** v5: a message of 255 and a channel means that the sender has ended the channel. */
  readonly closeSignal: boolean;
  /** Since v4 the end of a command is a v1.Status. */
  readonly status: boolean;
}

const plain = { base64: false, closeSignal: false };

/** By the name in `Sec-WebSocket-Protocol`. A client that names none uses `channel.k8s.io`. */
export const channelProtocols: ReadonlyMap<string, ChannelProtocol> = new Map([
  ["v5.channel.k8s.io", { base64: false, closeSignal: true, status: true }],
  ["v4.channel.k8s.io", { ...plain, status: true }],
  ["v4.base64.channel.k8s.io", { base64: true, closeSignal: false, status: true }],
  ["channel.k8s.io", { ...plain, status: false }],
  ["base64.channel.k8s.io", { base64: true, closeSignal: false, status: false }],
]);

const closeChannel = 255;
/** The largest message that is sent, so that other streams can send in between. */
const maxSendBytes = 64 * 1024;
const digitZero = 0x30;

/** The streams of one connection. */
export class Channels {
  readonly connection: WebSocketConnection;
  readonly #protocol: ChannelProtocol;
  readonly #role: "client" | "server";
  readonly #streams = new Map<number, MuxStream>();
  /** The channel of the current message; undefined before its first byte. */
  #channel: number | undefined;
  /** Base64 characters that are not a group of four yet. */
  #carry = "";

  constructor(transport: Duplex, role: "client" | "server", protocol: ChannelProtocol) {
    this.#role = role;
    this.#protocol = protocol;
    this.connection = new WebSocketConnection({
      transport,
      role,
      onMessage: (piece) => this.#receive(piece),
    });
    void this.connection.closed.then((reason) => this.#close(reason));
  }

  /** Opens the stream of a channel. Data on channels that are not open is dropped. */
  open(channel: number): MuxStream {
    const stream = new MuxStream({
      send: (chunk, sent) => this.#send(channel, chunk, 0, sent),
      sendEnd: (sent) => this.#sendEnd(channel, sent),
      consumed: (bytes) => this.connection.removeUnread(bytes),
      closed: () => this.#streams.delete(channel),
    });
    this.#streams.set(channel, stream);
    return stream;
  }

  /** Sends an empty message, which shows clients that the connection works. */
  greet(channel: number): void {
    this.#message(channel, Buffer.alloc(0), () => undefined);
  }

  #close(reason: Error | undefined): void {
    // A server that closes normally has sent everything; a client that closes has disconnected.
    const isComplete = reason === undefined && this.#role === "client";
    const error = reason ?? new RuntimeError("unavailable", "use WebSocket: the peer closed it");
    for (const stream of [...this.#streams.values()]) {
      if (isComplete) stream.receiveEnd();
      stream.connectionLost(error);
    }
  }

  #send(channel: number, chunk: Buffer, offset: number, sent: Sent): void {
    const piece = chunk.subarray(offset, offset + maxSendBytes);
    this.#message(channel, piece, (error) => {
      const next = offset + piece.length;
      if (error !== undefined || next >= chunk.length) sent(error);
      else this.#send(channel, chunk, next, sent);
    });
  }

  #message(channel: number, piece: Buffer, sent: Sent): void {
    if (!this.#protocol.base64) {
      this.connection.send("binary", [Buffer.from([channel]), piece], sent);
      return;
    }
    const text = String.fromCharCode(digitZero + channel) + piece.toString("base64");
    this.connection.send("text", [Buffer.from(text, "latin1")], sent);
  }

  #sendEnd(channel: number, sent: Sent): void {
    // NOTE(client-go): only a client sends it; a client that receives it logs an unknown stream.
    if (this.#protocol.closeSignal && this.#role === "client") {
      this.connection.send("binary", [Buffer.from([closeChannel, channel])], sent);
    } else {
      sent();
    }
  }

  #receive({ piece, first, last }: MessagePiece): void {
    if (first) {
      this.#channel = undefined;
      this.#carry = "";
    }
    let rest = piece;
    if (this.#channel === undefined && rest.length > 0) {
      this.#channel = rest.readUInt8(0) - (this.#protocol.base64 ? digitZero : 0);
      rest = rest.subarray(1);
    }
    if (this.#channel === undefined) return;
    if (this.#channel === closeChannel && this.#protocol.closeSignal) {
      if (rest.length > 0) this.#streams.get(rest.readUInt8(0))?.receiveEnd();
      return;
    }
    const data = this.#protocol.base64 ? this.#decode(rest, last) : rest;
    const stream = this.#streams.get(this.#channel);
    if (stream === undefined || data.length === 0) return;
    this.connection.addUnread(data.length);
    stream.receive(data);
  }

  #decode(piece: Buffer, last: boolean): Buffer {
    const text = this.#carry + piece.toString("latin1");
    const length = text.length - (text.length % 4);
    this.#carry = text.slice(length);
    const ready = text.slice(0, length);
    if (!/^[A-Za-z0-9+/]*={0,2}$/.test(ready) || (last && this.#carry !== "")) {
      throw new WebSocketError(closeCode.invalidData, "invalid base64");
    }
    return Buffer.from(ready, "base64");
  }
}
