import { closeSync, ftruncateSync, writeSync } from "node:fs";

import { openLocked } from "./native.ts";

/** A lock that this process holds until it is disposed of or the process ends, however it ends. */
export interface FileLock extends Disposable {
  readonly path: string;
}

/**
 * Takes the lock file, which is made (0600) if it does not exist, and writes the pid of this process into it for
 * people to read. `undefined` when another process holds the lock. The file is never removed: a lock on
 * a removed file would exclude no other process.
 */
export function lockFile(path: string): FileLock | undefined {
  const fd = openLocked(path);
  if (fd === undefined) return undefined;
  try {
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n`);
  } catch {
    // A full disk. The lock is held all the same, only the pid is missing.
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
