import { type ErrorKind, kindOf, messageOf, RuntimeError } from "../base/errors.ts";
import { reasonOf } from "../client/reason.ts";
import { DavitError, type DavitErrorKind } from "./errors.ts";

const kinds: Readonly<Record<ErrorKind, DavitErrorKind>> = {
  canceled: "aborted",
  unknown: "failed",
  "invalid-argument": "invalid",
  "deadline-exceeded": "deadline",
  "not-found": "not-found",
  "already-exists": "already-exists",
  "permission-denied": "permission",
  "resource-exhausted": "no-space",
  "failed-precondition": "failed",
  aborted: "failed",
  "out-of-range": "invalid",
  unimplemented: "unsupported",
  internal: "internal",
  unavailable: "unavailable",
  "data-loss": "internal",
  unauthenticated: "permission",
};

/**
 * The DavitError for anything that a call threw, with what was being done. An error of a server begins with the
 * operation and the id of the object already: that is replaced by the name that the program knows.
 */
export function explain(doing: string, error: unknown, signal?: AbortSignal): DavitError {
  if (signal?.aborted === true) return aborted(doing, signal);
  if (error instanceof DavitError) return error;
  const message = messageOf(error);
  const kind = kindIn(error, message);
  const stage = /\(stage ([a-z-]+)[,)]/.exec(message)?.[1];
  const hint = hintOf(error, message);
  return new DavitError(kind, withSubject(doing, message), { stage, hint, cause: error });
}

/** The error of a call whose signal was aborted; its cause is the signal's reason. */
export function aborted(doing: string, signal: AbortSignal): DavitError {
  const reason: unknown = signal.reason;
  const isTimeout = reason instanceof Error && reason.name === "TimeoutError";
  return new DavitError(isTimeout ? "deadline" : "aborted", `${doing}: ${messageOf(reason)}`, {
    cause: reason,
  });
}

/** An error for an invalid argument. */
export function invalid(message: string): DavitError {
  return new DavitError("invalid", message);
}

/** An error for what a server, other than a current davit, cannot do. `server` is its name. */
export function unsupported(
  doing: string,
  {
    hint,
    server,
    cause,
  }: { readonly hint: string; readonly server: string; readonly cause?: unknown },
): DavitError {
  const what = server === "davit" ? "an older davit" : `${server}, not davit`;
  return new DavitError("unsupported", `${doing}: the server is ${what}`, { hint, cause });
}

/** Whether a call failed since the server does not have it. */
export function isMissingCall(error: unknown): boolean {
  return (
    kindOf(error) === "unimplemented" &&
    /\b(no such|unknown) (method|service)\b/.test(messageOf(error))
  );
}

function kindIn(error: unknown, message: string): DavitErrorKind {
  const kind = kindOf(error);
  // Servers name a registry that does not answer as cri-api does (pkg/errors): the code alone would mean that the
  // server is not ready.
  const mayBeRegistry = kind === "unavailable" || kind === "unknown";
  if (mayBeRegistry && /\bRegistryUnavailable\b/.test(message)) return "registry";
  if (!(error instanceof RuntimeError) && kind === "unknown") return kindOfSystemError(error);
  return kinds[kind];
}

function kindOfSystemError(error: unknown): DavitErrorKind {
  switch ((error as { readonly code?: unknown } | undefined)?.code) {
    case "ENOENT":
    case "ENOTDIR":
      return "not-found";
    case "EACCES":
    case "EPERM":
    case "EROFS":
      return "permission";
    case "EEXIST":
      return "already-exists";
    case "ENOSPC":
    case "EDQUOT":
    case "EMFILE":
      return "no-space";
    default:
      return "failed";
  }
}

function withSubject(doing: string, message: string): string {
  if (message.startsWith(`${doing}:`)) return message;
  const [verb = ""] = doing.split(" ");
  const [operation = ""] = /^(\w+ ){1,3}"[^"]*"/.exec(message) ?? [];
  return operation.startsWith(`${verb} `)
    ? `${doing}${message.slice(operation.length)}`
    : `${doing}: ${reasonOf(message)}`;
}

/** What to do about a failed connection. */
function hintOf(error: unknown, message: string): string | undefined {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (!("syscall" in cause) || cause.syscall !== "connect" || !("code" in cause)) continue;
    if (cause.code === "ENOENT" || cause.code === "ECONNREFUSED") {
      return 'start davit with "davit serve", name its socket by the option endpoint or DAVIT_ENDPOINT, or use Davit.start()';
    }
    if (cause.code === "EACCES") {
      return "run the program as root, or set server.group to a group of which its user is a member";
    }
  }
  return /no space left|disk is full/.test(message) ? "free space on the disk" : undefined;
}
