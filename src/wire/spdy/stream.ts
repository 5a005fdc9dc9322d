import { MuxStream, type MuxPort } from "../mux/mux-stream.ts";
import type { Sent } from "../mux/outbox.ts";
import type { SpdyHeaders } from "./headers.ts";

/** The functions of a session that its streams use. */
export interface SpdyCarrier {
  sendOn(stream: SpdyStream): void;
  sendEndOf(stream: SpdyStream, sent: Sent): void;
  consumedFrom(stream: SpdyStream, bytes: number): void;
  closed(stream: SpdyStream, isComplete: boolean): void;
}

/** Data of a stream that is being sent. */
export interface Outgoing {
  readonly chunk: Buffer;
  readonly sent: Sent;
  offset: number;
  /** A part of it waits for the connection. */
  inFlight: boolean;
}

/** One stream of a SPDY session, as a Duplex whose directions end separately. */
export class SpdyStream extends MuxStream {
  readonly id: number;
  readonly headers: SpdyHeaders;
  /** Bytes that may be sent, if flow control is active. */
  sendWindow: number;
  /** Bytes that the peer may send, if flow control is active. */
  receiveWindow: number;
  /** Bytes that were read since the last window update. */
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
      consumed: (bytes) => carrier.consumedFrom(this, bytes),
      closed: (isComplete) => carrier.closed(this, isComplete),
    };
    super(port);
    this.id = about.id;
    this.headers = about.headers;
    this.sendWindow = about.sendWindow;
    this.receiveWindow = about.receiveWindow;
  }
}
