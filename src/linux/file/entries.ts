/**
 * What node:fs cannot do to one file: whole nanoseconds, device nodes, extended attributes, and a
 * root of our own. Each call runs on the calling thread and may wait for the disk: they are for the
 * unpacker's process, never for the daemon.
 *
 * A path is a byte string: one character of U+0000 to U+00FF for each byte, as file names need not
 * be UTF-8. Symbolic links are never followed at the end of a path.
 */
import { native, nativeError } from "../native.ts";

/**
 * Makes the directory this process's root and working directory, for good (chroot(2)). No path leads out
 * of it any more. What is open stays open, so there should be nothing.
 */
export function enterRoot(directory: string): void {
  call(() => native().enterRoot(directory));
}

/** Owner, permissions and times of a file. */
export interface FileAttributes {
  readonly uid: number;
  readonly gid: number;
  /** The 12 bits of chmod(2); `undefined` for a symbolic link, which has none. */
  readonly mode: number | undefined;
  /** Of the last change and access; `undefined` leaves them. */
  readonly time: FileTime | undefined;
}

/** A moment, as struct timespec has it: `nanoseconds` is never negative. */
export interface FileTime {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Sets owner, then permissions, then times: a change of owner clears the setuid bits. */
export function setAttributes(path: string, { uid, gid, mode, time }: FileAttributes): void {
  const [seconds, nanoseconds] = [time?.seconds ?? 0, time?.nanoseconds ?? -1];
  call(() => native().setAttributes(path, uid, gid, mode ?? -1, seconds, nanoseconds));
}

/** Makes a device or a fifo; `mode` has the type bits (mknod(2)). `already-exists` as it says. */
export function makeNode(path: string, mode: number, major = 0, minor = 0): void {
  call(() => native().makeNode(path, mode, major, minor));
}

/**
 * Sets an extended attribute; `value` is a byte string, too. `unimplemented` where the file system
 * does not have attributes of that namespace.
 */
export function setXattr(path: string, name: string, value: string): void {
  call(() => native().setXattr(path, name, value));
}

/**
 * Makes reads of a descriptor wait for bytes (whoever had it before may have set O_NONBLOCK: Node does, where
 * `process.stdin` is touched), and lets a pipe hold so many, as far as this process may: reader and
 * writer then wait for each other less often. Never fails.
 */
export function preparePipe(fd: number, bytes: number): void {
  call(() => native().preparePipe(fd, bytes));
}

function call(run: () => void): void {
  try {
    run();
  } catch (cause) {
    throw nativeError(cause);
  }
}
