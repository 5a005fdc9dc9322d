import { numberFrame, settingsFrame } from "./frame-writer.ts";
import { limits } from "./limits.ts";
import {
  ConnectionError,
  defaultFrameBytes,
  defaultWindowBytes,
  errorCode,
  frameType,
  maxWindowBytes,
  setting,
} from "./protocol.ts";
import type { SendQueue } from "./send-queue.ts";
import type { ServerStream } from "./stream.ts";

const entryBytes = 6;
const maxFrameSize = 2 ** 24 - 1;

/** The table that an encoder has until its peer allows less: RFC 9113, section 6.5.2. */
const defaultTableBytes = 4096;

/** What the server sends first: its limits, and a larger window. */
export const greeting = Buffer.concat([
  settingsFrame([
    [setting.maxConcurrentStreams, limits.maxStreams],
    [setting.initialWindowSize, limits.streamWindowBytes],
    [setting.maxHeaderListSize, limits.maxHeaderListBytes],
  ]),
  numberFrame(frameType.windowUpdate, 0, limits.connectionWindowBytes - defaultWindowBytes),
]);

/**
 * Applies the payload of a SETTINGS frame to what is sent, in its order. A new initial window also changes the windows of
 * open streams (RFC 9113, section 6.9.2). Settings that this server has no use for are ignored, as are unknown ones.
 *
 * @throws ConnectionError for a value that is not allowed, or too many of them.
 */
export function applySettings(
  payload: Buffer,
  sending: SendQueue,
  streams: Iterable<ServerStream>,
): void {
  if (payload.length % entryBytes !== 0) {
    throw new ConnectionError(errorCode.frameSizeError, `SETTINGS of ${payload.length} bytes`);
  }
  if (payload.length > entryBytes * limits.maxSettings) {
    throw new ConnectionError(errorCode.enhanceYourCalm, "SETTINGS with too many entries");
  }
  const initialWindow = sending.initialWindow;
  for (let at = 0; at < payload.length; at += entryBytes) {
    applySetting(payload.readUInt16BE(at), payload.readUInt32BE(at + 2), sending);
  }
  const change = sending.initialWindow - initialWindow;
  if (change === 0) return;
  for (const { outgoing } of streams) {
    if (!sending.widenStream(outgoing, change)) throw badSetting("initial window", change);
  }
}

function applySetting(id: number, value: number, sending: SendQueue): void {
  switch (id) {
    case setting.headerTableSize:
      if (value < defaultTableBytes) sending.emptyTable();
      return;
    case setting.enablePush:
      if (value > 1) throw new ConnectionError(errorCode.protocolError, `ENABLE_PUSH of ${value}`);
      return;
    case setting.initialWindowSize:
      if (value > maxWindowBytes) throw badSetting("initial window", value);
      sending.initialWindow = value;
      return;
    case setting.maxFrameSize:
      if (value < defaultFrameBytes || value > maxFrameSize) {
        throw new ConnectionError(errorCode.protocolError, `MAX_FRAME_SIZE of ${value}`);
      }
      // Larger frames would let a stream delay the others.
      return;
    default:
      return;
  }
}

function badSetting(what: string, value: number): ConnectionError {
  return new ConnectionError(errorCode.flowControlError, `${what} of ${value} bytes`);
}
