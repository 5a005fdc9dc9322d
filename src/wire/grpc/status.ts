import { type ErrorKind, RuntimeError } from "../../base/errors.ts";

/** `grpc-status` of a successful call. */
export const grpcOk = 0;

/**
 * The gRPC status code of each kind of failure (doc/statuscodes.md of the gRPC project). The kinds have
 * the names of the codes.
 */
export const grpcCodeOfKind = {
  canceled: 1,
  unknown: 2,
  "invalid-argument": 3,
  "deadline-exceeded": 4,
  "not-found": 5,
  "already-exists": 6,
  "permission-denied": 7,
  "resource-exhausted": 8,
  "failed-precondition": 9,
  aborted: 10,
  "out-of-range": 11,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
  "data-loss": 15,
  unauthenticated: 16,
} as const satisfies Record<ErrorKind, number>;

const kindOfCode = new Map<number, ErrorKind>(
  Object.entries(grpcCodeOfKind).map(([kind, code]) => [code, kind as ErrorKind]),
);

/** The kind of a status code; `unknown` for a number that gRPC does not define. */
export function kindOfGrpcCode(code: number): ErrorKind {
  return kindOfCode.get(code) ?? "unknown";
}

/** The status of a call: `grpc-status`, `grpc-message` and `grpc-status-details-bin`. */
export interface GrpcStatus {
  readonly code: number;
  readonly message: string;
  /** An encoded google.rpc.Status with details, for clients that use them. */
  readonly details?: Uint8Array;
}

/** A failed call, as the client sees it: the status of the server, or why there is no response. */
export class GrpcStatusError extends RuntimeError {
  /** The gRPC status code of `kind`. */
  readonly code: number;
  readonly details: Uint8Array | undefined;

  constructor(status: GrpcStatus, options?: { readonly cause?: unknown }) {
    super(kindOfGrpcCode(status.code), status.message, options);
    this.name = "GrpcStatusError";
    this.code = status.code;
    this.details = status.details;
  }
}

/** A GrpcStatusError for a failure on this side, by kind. */
export function statusError(kind: ErrorKind, message: string, cause?: unknown): GrpcStatusError {
  return new GrpcStatusError({ code: grpcCodeOfKind[kind], message }, { cause });
}
