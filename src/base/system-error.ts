import { constants } from "node:os";

import { type ErrorKind, RuntimeError } from "./errors.ts";

const kinds: Readonly<Record<string, ErrorKind>> = {
  ENOENT: "not-found",
  ENOTDIR: "not-found",
  EEXIST: "already-exists",
  EACCES: "permission-denied",
  EPERM: "permission-denied",
  EROFS: "permission-denied",
  ENOSPC: "resource-exhausted",
  EMFILE: "resource-exhausted",
  ENFILE: "resource-exhausted",
  EDQUOT: "resource-exhausted",
  ENOMEM: "resource-exhausted",
  EAGAIN: "resource-exhausted",
  EBUSY: "failed-precondition",
  EINVAL: "invalid-argument",
  ENOSYS: "unimplemented",
  EOPNOTSUPP: "unimplemented",
  ENOTSUP: "unimplemented",
};

const texts: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  ENOTDIR: "not a directory",
  EEXIST: "already exists",
  EACCES: "permission denied",
  EPERM: "operation not permitted",
  EROFS: "read-only file system",
  ENOSPC: "no space left",
  EMFILE: "too many open files in this process",
  ENFILE: "too many open files in the system",
  EDQUOT: "disk quota exceeded",
  ENOMEM: "out of memory",
  EAGAIN: "resource temporarily unavailable (a process or thread limit?)",
  EBUSY: "device or resource busy",
  EINVAL: "invalid argument",
  ENOSYS: "the kernel does not have this call",
  EOPNOTSUPP: "operation not supported",
  ENOEXEC: "not an executable of this machine",
  ESRCH: "no such process",
  ENODEV: "no such device or file system type",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "name too long",
  EIO: "input/output error",
  ECONNREFUSED: "connection refused",
  ECONNRESET: "connection reset by peer",
  ETIMEDOUT: "connection timed out",
  ENETUNREACH: "network is unreachable",
};

/**
 * A failed system call. `code` is the errno's name (`ENOENT`), for the few callers that
 * need more than the kind; the message names the call, its object and the errno.
 */
export class SystemError extends RuntimeError {
  readonly code: string;

  constructor(doing: string, code: string, options?: { readonly cause?: unknown }) {
    const text = texts[code];
    super(
      kindOfErrno(code),
      `${doing}: ${text === undefined ? code : `${text} (${code})`}`,
      options,
    );
    this.name = "SystemError";
    this.code = code;
  }
}

/** The kind of an errno name; `internal` for those that no caller handles. */
export function kindOfErrno(code: string): ErrorKind {
  return kinds[code] ?? "internal";
}

/** The name (`ENOENT`) of an errno number, `E<number>` for one that Node does not know. */
export function errnoName(errno: number): string {
  // ENOTSUP has the same number on Linux.
  if (errno === constants.errno.EOPNOTSUPP) return "EOPNOTSUPP";
  return Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? `E${errno}`;
}

/**
 * Turns an error of node:fs or of the addon into a SystemError that says what was being done. A thrown
 * value without an errno name (a bug, not an error of the kernel) becomes kind `internal`.
 */
export function systemError(doing: string, cause: unknown): RuntimeError {
  if (cause instanceof RuntimeError) return cause;
  const code = errnoCode(cause);
  if (code !== undefined) return new SystemError(doing, code, { cause });
  const text = cause instanceof Error ? cause.message : String(cause);
  return new RuntimeError("internal", `${doing}: ${text}`, { cause });
}

/** The errno name of a thrown value (node:fs errors and SystemError have one). */
export function errnoCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
