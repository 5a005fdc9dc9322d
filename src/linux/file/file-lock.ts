import { closeSync, existsSync, ftruncateSync, readFileSync, writeSync } from "node:fs";

import { openLocked } from "./native.ts";

/** A lock that this process holds until it is disposed of or the process ends, however it ends. */
export interface FileLock extends Disposable {
  readonly path: string;
  /** How the last holder gave up the lock: by disposing of it, or by its end. Undefined: there was none. */
  readonly last: "released" | "ended" | undefined;
}

/**
 * Takes the lock file, which is made (0600) if it does not exist, and writes the pid of this process into it for
 * people to read, and `note` in a second line; disposing of the lock removes both. `undefined` when another
 * process holds the lock. The file is never removed: a lock on a removed file would exclude no other process.
 */
export function lockFile(path: string, note?: string): FileLock | undefined {
  const existed = existsSync(path);
  const fd = openLocked(path);
  if (fd === undefined) return undefined;
  const last = existed ? lastOf(path) : undefined;
  try {
    ftruncateSync(fd);
    writeSync(fd, `${process.pid}\n${note === undefined ? "" : `${note}\n`}`);
  } catch {
    // A full disk. The lock is held all the same, only the pid is missing.
  }
  let held = true;
  return {
    path,
    last,
    [Symbol.dispose]: () => {
      if (!held) return;
      held = false;
      ftruncateSync(fd);
      closeSync(fd);
    },
  };
}

/** A holder that ended without releasing the lock has left its pid in the file. */
function lastOf(path: string): FileLock["last"] {
  return readFileSync(path, "utf8") === "" ? "released" : "ended";
}
