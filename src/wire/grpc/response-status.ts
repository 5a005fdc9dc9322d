import { constants, type IncomingHttpHeaders, type IncomingHttpStatusHeader } from "node:http2";
import type { ErrorKind } from "../../base/errors.ts";
import { decodeStatusMessage } from "./codec.ts";
import { type GrpcStatus, grpcCodeOfKind } from "./status.ts";

/** The headers of a response. */
export type ResponseHeaders = IncomingHttpHeaders & IncomingHttpStatusHeader;

/** The failure of a stream that was reset: PROTOCOL-HTTP2.md, "HTTP2 Transport Mapping", Errors. */
export function kindOfReset(rstCode: number | undefined): ErrorKind {
  switch (rstCode) {
    case undefined:
    case constants.NGHTTP2_NO_ERROR:
    case constants.NGHTTP2_REFUSED_STREAM:
      return "unavailable";
    case constants.NGHTTP2_CANCEL:
      return "canceled";
    case constants.NGHTTP2_ENHANCE_YOUR_CALM:
      return "resource-exhausted";
    case constants.NGHTTP2_INADEQUATE_SECURITY:
      return "permission-denied";
    default:
      return "internal";
  }
}

/** The gRPC status of a call that has ended; undefined if the server has sent none. */
export function statusOf(
  response: ResponseHeaders | undefined,
  trailers: IncomingHttpHeaders | undefined,
): GrpcStatus | undefined {
  // A status without a response is in the first and only header block.
  const headers: IncomingHttpHeaders | undefined =
    trailers?.["grpc-status"] !== undefined ? trailers : response;
  const code = headers?.["grpc-status"];
  if (headers === undefined || typeof code !== "string") return httpStatus(response);
  const message = headers["grpc-message"];
  const details = headers["grpc-status-details-bin"];
  return {
    code: /^\d+$/.test(code) ? Number(code) : grpcCodeOfKind.unknown,
    message: typeof message === "string" ? decodeStatusMessage(message) : "",
    ...(typeof details === "string" && { details: Buffer.from(details, "base64") }),
  };
}

/** The status for a response without a gRPC status: doc/http-grpc-status-mapping.md. */
function httpStatus(response: ResponseHeaders | undefined): GrpcStatus | undefined {
  const status = response?.[":status"];
  if (status === undefined || status === 200) return undefined;
  const kinds: Readonly<Record<number, ErrorKind>> = {
    400: "internal",
    401: "unauthenticated",
    403: "permission-denied",
    404: "unimplemented",
    429: "unavailable",
    502: "unavailable",
    503: "unavailable",
    504: "unavailable",
  };
  const code = grpcCodeOfKind[kinds[status] ?? "unknown"];
  return { code, message: `the server responded with HTTP status ${status}: is it a gRPC server?` };
}
