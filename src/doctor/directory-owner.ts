import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The daemon that uses a root or state directory. */
export interface DirectoryOwner {
  readonly pid: number;
  /** Empty if it is so old that it does not say it. */
  readonly version: string;
}

/**
 * The process that holds the lock of a directory, by its lock file and proc_locks(5); undefined if none does. Takes
 * no lock itself, since a daemon that starts meanwhile would be refused.
 */
export function readOwner(directory: string): DirectoryOwner | undefined {
  const [first = "", version = ""] = readIfThere(join(directory, "davit.lock")).split("\n");
  if (!/^\d{1,10}$/.test(first) || !existsSync(`/proc/${first}`)) return undefined;
  const held = new RegExp(`FLOCK +ADVISORY +WRITE +${first} `).test(readIfThere("/proc/locks"));
  return held ? { pid: Number(first), version } : undefined;
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
