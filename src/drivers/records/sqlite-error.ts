import { type ErrorKind, RuntimeError } from "../../base/errors.ts";
import { errnoCode, SystemError } from "../../base/system-error.ts";

/** Primary result codes that are distinguished here (sqlite.org/rescode.html). */
const busy = 5;
const readOnly = 8;
const ioError = 10;
const corrupt = 11;
const full = 13;
const cannotOpen = 14;
const notADatabase = 26;
/** SQLITE_IOERR_SHMSIZE: the -shm file could not grow, which on a full disk occurs before FULL. */
const shmSize = ioError | (19 << 8);

const answers: Readonly<Record<number, { readonly kind: ErrorKind; readonly hint: string }>> = {
  [busy]: { kind: "unavailable", hint: "another process holds the database; stop it" },
  [readOnly]: { kind: "permission-denied", hint: "make its file system writable" },
  [ioError]: { kind: "internal", hint: "check the kernel's log for disk errors" },
  [corrupt]: { kind: "data-loss", hint: "restart the daemon: it begins with fresh records" },
  [notADatabase]: { kind: "data-loss", hint: "restart the daemon: it begins with fresh records" },
  [full]: { kind: "resource-exhausted", hint: "the disk is full; free space on it" },
  [cannotOpen]: {
    kind: "permission-denied",
    hint: "its directory must be on a file system that can be written",
  },
};

/** The extended result code that node:sqlite puts on its errors; undefined for any other error. */
function resultCode(error: unknown): number | undefined {
  if (!(error instanceof Error) || !("errcode" in error)) return undefined;
  return typeof error.errcode === "number" ? error.errcode : undefined;
}

/** True when the error means that the content of the file is damaged. */
export function isCorruption(error: unknown): boolean {
  const code = resultCode(error);
  return code !== undefined && ((code & 0xff) === corrupt || (code & 0xff) === notADatabase);
}

/**
 * Wraps an error of node:sqlite or node:fs in a RuntimeError with what was being done and what to do
 * next. `doing` must name the database's path.
 */
export function databaseError(doing: string, cause: unknown): RuntimeError {
  if (cause instanceof RuntimeError) return cause;
  const code = resultCode(cause);
  const text = cause instanceof Error ? cause.message : String(cause);
  if (code !== undefined) {
    const answer = answers[code === shmSize ? full : code & 0xff];
    if (answer === undefined) return new RuntimeError("internal", `${doing}: ${text}`, { cause });
    return new RuntimeError(answer.kind, `${doing}: ${text}; ${answer.hint}`, { cause });
  }
  const errno = errnoCode(cause);
  if (errno !== undefined && !errno.startsWith("ERR_")) {
    return new SystemError(doing, errno, { cause });
  }
  return new RuntimeError("internal", `${doing}: ${text}`, { cause });
}
