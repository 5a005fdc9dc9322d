import { readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { errnoCode, systemError } from "../../../base/system-error.ts";
import type { FileIdentity } from "../../../linux/file/index.ts";

/** The regular files that a process has open; undefined when it has ended, or has closed all files to end. */
export async function openFiles(pid: number): Promise<readonly FileIdentity[] | undefined> {
  const directory = `/proc/${pid}/fd`;
  const names = await readdir(directory).catch((cause: unknown) => {
    if (errnoCode(cause) === "ENOENT") return [];
    throw systemError(`list open files of process ${pid}`, cause);
  });
  if (names.length === 0) return undefined;
  const files = await Promise.all(names.map((name) => fileAt(join(directory, name))));
  return files.filter((file) => file !== undefined);
}

/** Whether a file is one of `files`, under any name. */
export function holds(
  files: readonly FileIdentity[] | undefined,
  file: FileIdentity | undefined,
): boolean {
  return (
    file !== undefined &&
    files?.some(({ dev, ino }) => dev === file.dev && ino === file.ino) === true
  );
}

/** The result of a wait for conmon. */
export type WaitResult = "done" | "ended" | "late";

/** Polls until `isDone`, conmon has ended, or the time is over. */
export async function waitForMonitor(
  pid: number,
  isDone: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<WaitResult> {
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const hasEnded = (await openFiles(pid)) === undefined;
    // Checked last: it may have been done just before the end.
    if (await isDone()) return "done";
    if (hasEnded) return "ended";
    if (performance.now() > deadline) return "late";
    await delay(waitMs);
  }
}

async function fileAt(path: string): Promise<FileIdentity | undefined> {
  try {
    const info = await stat(path, { bigint: true });
    return info.isFile() ? { dev: info.dev, ino: info.ino } : undefined;
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`stat "${path}"`, cause);
  }
}
