// The W3C headers `traceparent` and `tracestate`. gRPC clients of OpenTelemetry, such as kubelet's, send them as
// text metadata of these names; `grpc-trace-bin` is OpenCensus' and is not used.

/** The span of a client that a call belongs to. */
export interface RemoteParent {
  /** 16 bytes. */
  readonly traceId: Uint8Array;
  /** 8 bytes. */
  readonly spanId: Uint8Array;
}

const pattern = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-|$)/;
const lengthOfVersion0 = 55;

/** True for a `traceparent` that is valid. A client that sends another one has no span. */
export function isTraceparent(header: string): boolean {
  return pattern.test(header) && (header.length === lengthOfVersion0 || !header.startsWith("00-"));
}

/** Whether the client records its span; of a valid `traceparent`. */
export function isSampledByClient(traceparent: string): boolean {
  return (Number.parseInt(traceparent.slice(53, 55), 16) & 1) === 1;
}

/** The ids in a valid `traceparent`. */
export function remoteParent(traceparent: string): RemoteParent {
  return {
    traceId: Buffer.from(traceparent.slice(3, 35), "hex"),
    spanId: Buffer.from(traceparent.slice(36, 52), "hex"),
  };
}

/** The longest tracestate that is passed on. W3C requires 512 characters. */
const maxTracestate = 512;

/** A `tracestate` as it may be passed on; empty for one that is too long or has other characters. */
export function checkedTracestate(header: string | undefined): string {
  if (header === undefined || header.length > maxTracestate) return "";
  return /^[\x20-\x7e]+$/.test(header) ? header : "";
}
