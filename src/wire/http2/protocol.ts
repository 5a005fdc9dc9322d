// The numbers of HTTP/2: RFC 9113, sections 6, 6.5.2 and 7.
import { RuntimeError } from "../../base/errors.ts";

/** The types of frames. */
export const frameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

/** The flags of frames. */
export const flag = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 32 } as const;

/** The identifiers of settings. */
export const setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

/** Why a stream or a connection ends. */
export const errorCode = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;

/** The first bytes of a client. */
export const clientPreface: Buffer = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** The window of a stream and of a connection until a peer changes it. */
export const defaultWindowBytes = 65_535;

/** The largest payload of a frame until a peer allows more. This server allows no more. */
export const defaultFrameBytes = 16_384;

/** The largest window. */
export const maxWindowBytes = 0x7f_ff_ff_ff;

/** The peer violated the protocol or a limit: the connection ends with this code. */
export class ConnectionError extends RuntimeError {
  readonly code: number;

  constructor(code: number, why: string) {
    super("invalid-argument", `read HTTP/2 connection: ${why}`);
    this.name = "ConnectionError";
    this.code = code;
  }
}

/** @throws ConnectionError unless the condition holds that the protocol has for a frame. */
export function checkFrame(isValid: boolean, code: number, why: string): void {
  if (!isValid) throw new ConnectionError(code, why);
}
