/**
 * The kind of a failure, by which callers distinguish failures. The names are those of the
 * gRPC status codes, because each kind has exactly one code on the wire
 * (the table is in `wire/grpc/status.ts`).
 */
export type ErrorKind =
  | "canceled"
  | "unknown"
  | "invalid-argument"
  | "deadline-exceeded"
  | "not-found"
  | "already-exists"
  | "permission-denied"
  | "resource-exhausted"
  | "failed-precondition"
  | "aborted"
  | "out-of-range"
  | "unimplemented"
  | "internal"
  | "unavailable"
  | "data-loss"
  | "unauthenticated";

/**
 * The one error class of davit: a kind for programs, a message for people.
 *
 * The message starts with the verb that failed, names the object in quotes and ends with what to
 * do next, if a person can do something. It never ends with a period.
 */
export class RuntimeError extends Error {
  readonly kind: ErrorKind;

  constructor(kind: ErrorKind, message: string, options?: { readonly cause?: unknown }) {
    super(message, options);
    this.name = "RuntimeError";
    this.kind = kind;
  }
}

/** The kind of any thrown value: a RuntimeError's own, an abort's or timeout's by its name, else `unknown`. */
export function kindOf(error: unknown): ErrorKind {
  if (error instanceof RuntimeError) return error.kind;
  if (error instanceof Error && error.name === "AbortError") return "canceled";
  if (error instanceof Error && error.name === "TimeoutError") return "deadline-exceeded";
  return "unknown";
}

/** The message of any thrown value, as a part of another message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/**
 * A new error that says what was being done when `cause` happened. It has the kind of the
 * cause, so that added context never changes what a caller does.
 */
export function wrap(doing: string, cause: unknown): RuntimeError {
  return new RuntimeError(kindOf(cause), `${doing}: ${messageOf(cause)}`, { cause });
}

/** True for an error of the given kind. */
export function isKind(error: unknown, kind: ErrorKind): boolean {
  return kindOf(error) === kind;
}
