import { MuxStream, type MuxPort } from "../mux/mux-stream.ts";
import type { Sent } from "../mux/outbox.ts";
import type { SpdyHeaders } from "./headers.ts";

/** What a stream asks of its session. */
export interface SpdyCarrier {
  sendOn(stream: SpdyStream): void;
  sendEndOf(stream: SpdyStream, sent: Sent): void;
  takenFrom(stream: SpdyStream, bytes: number): void;
  goneFrom(stream: SpdyStream, whole: boolean): void;
}

/** Data of a stream that is on its way out. */
export interface Outgoing {
  readonly chunk: Buffer;
  readonly sent: Sent;
  offset: number;
  /** A piece of it waits for the connection. */
  inFlight: boolean;
}

/** One stream of a SPDY session: node's Duplex, each direction with an end of its own. */
export class SpdyStream extends MuxStream {
  readonly id: number;
  readonly headers: SpdyHeaders;
  /** Bytes that may be sent, where the peer controls the flow. */
  sendWindow: number;
  /** Bytes that the peer may send, where it controls the flow. */
  receiveWindow: number;
  /** Bytes that were read and that the peer was not told of yet. */
  uncredited = 0;
  outgoing: Outgoing | undefined;

  constructor(
    carrier: SpdyCarrier,
    about: { id: number; headers: SpdyHeaders; sendWindow: number; receiveWindow: number },
  ) {
    const port: MuxPort = {
      send: (chunk, sent) => {
        this.outgoing = { chunk, sent, offset: 0, inFlight: false };
        carrier.sendOn(this);
      },
      sendEnd: (sent) => carrier.sendEndOf(this, sent),
      taken: (bytes) => carrier.takenFrom(this, bytes),
      gone: (whole) => carrier.goneFrom(this, whole),
    };
    super(port);
    this.id = about.id;
    this.headers = about.headers;
    this.sendWindow = about.sendWindow;
    this.receiveWindow = about.receiveWindow;
  }
}
