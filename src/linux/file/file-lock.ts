import { closeSync, ftruncateSync, writeSync } from "node:fs";

import { native, nativeError } from "../native.ts";

/** A lock that we hold until it is disposed of or this process ends, however it ends. */
export interface FileLock extends Disposable {
  readonly path: string;
}

/**
 * Takes the lock file, which is made (0600) if it is not there, and writes our pid into it for
 * people to read. `undefined` when another process holds it. The file is never removed: a lock on
 * a removed file would keep nobody out.
 */
export function lockFile(path: string): FileLock | undefined {
  let fd: number;
  try {
    fd = native().lockFile(path);
  } catch (cause) {
    throw nativeError(cause, "take lock");
  }
  if (fd < 0) return undefined;
  try {
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`);
  } catch {
    // A full disk: the lock is held all the same, only nobody can read by whom.
  }
  let held = true;
  return {
    path,
    [Symbol.dispose]: () => {
      if (held) closeSync(fd);
      held = false;
    },
  };
}
