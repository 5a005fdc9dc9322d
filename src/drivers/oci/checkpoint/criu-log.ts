import { open } from "node:fs/promises";

import { errnoCode } from "../../../base/system-error.ts";

/** How much of the end of a log is read, in bytes: CRIU logs a line for each file and memory area. */
const tailBytes = 512 * 1024;
const longestError = 300;
/** What follows from another error, and what CRIU continues after: without CAP_SYS_RESOURCE it keeps its limits. */
const harmless =
  /^(?:Dumping FAILED|Restoring FAILED|cg: cgroupd: recv req error|rlimit: Can't setup RLIMIT_NOFILE)/;

/** The errors in a log of CRIU, the oldest first, without times and places in its source. None if there is no log. */
export async function criuErrors(path: string): Promise<readonly string[]> {
  return parseCriuErrors(await tailOf(path));
}

/** Whether a log is that of a capture that was completed. */
export async function hasFinishedDump(path: string): Promise<boolean> {
  return /^\([\d.]+\) Dumping finished successfully$/m.test(await tailOf(path));
}

/** Whether a restore waits for the lock of a file, by its log. */
export async function waitsForLock(path: string): Promise<boolean> {
  return endsAtLock(await tailOf(path));
}

/**
 * Whether the last line of a process is about a lock. Lines are `(00.012345)      1: (flock)flag: 2, type: 1, ...`. CRIU
 * writes the line before it takes the lock, and others after it.
 */
export function endsAtLock(log: string): boolean {
  const last = new Map<string, string>();
  for (const line of log.split("\n")) {
    const [, pid, text] = /^\([\d.]+\)\s+(\d+): (.*)$/.exec(line) ?? [];
    if (pid !== undefined && text !== undefined) last.set(pid, text);
  }
  return [...last.values()].some((text) => /^\((?:flock|posix)\)flag: /.test(text));
}

/**
 * Like {@link criuErrors}, of the text of a log. Lines are `(00.012345) 1: Error (criu/files.c:12): text`. Names of files
 * in them are the container's and may contain anything.
 */
export function parseCriuErrors(log: string): readonly string[] {
  return log.split("\n").flatMap((line) => {
    const text = /^\([\d.]+\)\s*(?:\d+:\s*)?Error \([^)]*\):\s*(.*)$/.exec(line)?.[1];
    if (text === undefined || harmless.test(text)) return [];
    return [printable(text).slice(0, longestError)];
  });
}

function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, "?").trim();
}

async function tailOf(path: string): Promise<string> {
  try {
    await using file = await open(path, "r");
    const { size } = await file.stat();
    const from = Math.max(0, size - tailBytes);
    const buffer = Buffer.alloc(size - from);
    const { bytesRead } = await file.read(buffer, 0, buffer.length, from);
    return buffer.toString("latin1", 0, bytesRead);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return "";
    throw cause;
  }
}
