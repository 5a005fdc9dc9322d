import { join } from "node:path";

import { type ErrorKind, kindOf, messageOf, RuntimeError } from "../../../base/errors.ts";
import { criuErrors, waitsForLock } from "./criu-log.ts";

interface Reason {
  readonly pattern: RegExp;
  readonly kind: ErrorKind;
  /** `$1` is the first group of the pattern. */
  readonly text: string;
}

/** What an OCI runtime says that cannot do it at all. */
const missing: readonly Reason[] = [
  {
    pattern: /could not load `?libcriu/,
    kind: "unimplemented",
    text: "crun needs the library libcriu: install the package libcriu2 (crun-criu on other systems)",
  },
  {
    pattern: /could not find symbol|libcriu is too old/,
    kind: "unimplemented",
    text: "crun needs a newer libcriu: install the version of CRIU that is installed",
  },
  {
    pattern: /compiled without CRIU|checkpoint\/restore not available|without checkpoint/i,
    kind: "unimplemented",
    text: "the OCI runtime was built without CRIU: install one that has it (crun --version shows +CRIU), or use runc",
  },
  {
    pattern: /"?criu"?.*executable file not found|CRIU version.*(?:executable|no such file)/i,
    kind: "unimplemented",
    text: "CRIU is not installed: install the package criu",
  },
  {
    pattern: /unrecognized option|flag provided but not defined|unknown (?:command|option)/i,
    kind: "unimplemented",
    text: "the OCI runtime does not have this: install crun 1.21 or runc 1.1, or newer",
  },
];

/** What CRIU cannot capture, by its errors (criu 3.19 to 4.2). */
const captureReasons: readonly Reason[] = [
  {
    pattern: /Can't get 1:(?:16|34) opt: Operation not supported/,
    kind: "unimplemented",
    text: "CRIU is too old for this kernel, and cannot capture processes with network sockets: install CRIU 4.2 or newer",
  },
  {
    pattern: /Connected TCP socket/,
    kind: "failed-precondition",
    text: "a process has an established TCP connection: end it, or allow that a restore closes TCP connections",
  },
  {
    pattern: /External socket is used|half of stream unix connection|Unix socket .* without peer/i,
    kind: "failed-precondition",
    text: "a process is connected to a unix socket of a process outside of the container: close the connection first",
  },
  {
    pattern: /Can't lookup mount=\S+ for fd=(\S+ path=.*)/,
    kind: "failed-precondition",
    text: "a process has a file open that is not in the container's file system (descriptor $1): close it first",
  },
  {
    pattern: /Can't dump file \S+ of that type \[\S+\] \(unknown (.*)\)/,
    kind: "failed-precondition",
    text: "a process has a file open that CRIU cannot capture: $1",
  },
  {
    pattern: /io_uring/i,
    kind: "failed-precondition",
    text: "a process uses io_uring, which CRIU cannot capture",
  },
  {
    pattern: /Can't dump ghost file (.*?) of \d+ size/,
    kind: "failed-precondition",
    text: "a process has a large deleted file open: $1",
  },
  {
    pattern: /Can't create link remap for (\S+)/,
    kind: "failed-precondition",
    text: "a process has a file open that was deleted and has other names: $1",
  },
  {
    pattern: /is traced by|already (?:being )?(?:ptraced|traced)|Unable to (?:ptrace|seize)/i,
    kind: "failed-precondition",
    text: "a process is being debugged or traced: end the debugger first",
  },
  {
    pattern: /Unable to freeze cgroup/,
    kind: "deadline-exceeded",
    text: "a process hangs in the kernel and cannot be frozen: it may wait for a disk or a network file system",
  },
  {
    pattern: /session leader .* is outside|outside of (?:its )?pid namespace/i,
    kind: "failed-precondition",
    text: "a background process of a command that was run in the container is left: end it first",
  },
];

const lockText =
  "a process had a lock of a file at the checkpoint, which another process has now: end that one first; it may be in the container that was captured";

/** What CRIU cannot restore. */
const restoreReasons: readonly Reason[] = [
  {
    pattern: /Can not set (?:flock|posix lock|ofd lock)/,
    kind: "failed-precondition",
    text: lockText,
  },
  {
    pattern: /Can't find sysv shmem/,
    kind: "failed-precondition",
    text: "a process has System V shared memory attached that another container of the pod has made: CRIU can restore it in one container only, which must be started first",
  },
  {
    pattern: /Connected TCP socket in image/,
    kind: "failed-precondition",
    text: "the checkpoint has established TCP connections: restore it with TCP connections closed",
  },
  {
    pattern: /No mapping for (\S+) mountpoint/,
    kind: "invalid-argument",
    text: 'the checkpoint has a mount on "$1" that the request does not have: add it',
  },
  {
    pattern: /File (\S+) has bad (?:size|mode|build-ID|checksum)/,
    kind: "failed-precondition",
    text: 'the file "$1" is not the one of the checkpoint: use the same image and volumes',
  },
  {
    pattern: /Can't open file (\S+) on restore/,
    kind: "failed-precondition",
    text: 'a file that was open at the checkpoint does not exist: "$1"; use the same image and volumes',
  },
];

/** The error about a capture that failed. `work` has CRIU's log. */
export async function explainCapture(work: string, cause: unknown): Promise<RuntimeError> {
  const errors = await criuErrors(join(work, "dump.log"));
  return explain(cause, errors, captureReasons);
}

/** The error about a restore that failed. `work` has CRIU's log. */
export async function explainRestore(work: string, cause: unknown): Promise<RuntimeError> {
  const errors = await criuErrors(join(work, "restore.log"));
  return explain(cause, errors, restoreReasons);
}

/** The error about a restore that took too long: CRIU waits for locks of files. `work` has CRIU's log. */
export async function explainLateRestore(work: string, cause: unknown): Promise<unknown> {
  if (!(await waitsForLock(join(work, "restore.log")))) return cause;
  return new RuntimeError("failed-precondition", `${messageOf(cause)}; ${lockText}`, { cause });
}

function explain(
  cause: unknown,
  errors: readonly string[],
  reasons: readonly Reason[],
): RuntimeError {
  const kind = kindOf(cause);
  if (kind !== "unknown") return new RuntimeError(kind, messageOf(cause), { cause });
  const said = [messageOf(cause)];
  const found = match(said, missing) ?? match(errors, reasons);
  if (found !== undefined) return new RuntimeError(found.kind, found.text, { cause });
  const [first] = errors;
  if (first === undefined) return new RuntimeError("unknown", messageOf(cause), { cause });
  return new RuntimeError("failed-precondition", `CRIU: ${first}`, { cause });
}

function match(
  lines: readonly string[],
  reasons: readonly Reason[],
): { readonly kind: ErrorKind; readonly text: string } | undefined {
  for (const line of lines) {
    for (const { pattern, kind, text } of reasons) {
      const groups = pattern.exec(line);
      if (groups !== null) return { kind, text: text.replace("$1", () => groups[1] ?? "") };
    }
  }
  return undefined;
}
