import { lstatSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import type { FileHandle } from "node:fs/promises";
import { basename, dirname } from "node:path";

import { beforeAbort } from "../../../base/wait.ts";
import { bindMount, unmount } from "../../../linux/mount/index.ts";
import { type FileStep, LogDirectory } from "../../../linux/file/index.ts";
import { systemError } from "../../../base/system-error.ts";
import type { StateLayout } from "../state-layout.ts";

/*
 * conmon knows its log by a name in the bundle, where no container comes to: a symbolic link to a file that
 * davit has opened. See docs/decisions/0015-log-files.md.
 *
 * NOTE(conmon): it opens PATH when it starts (O_APPEND | O_CREAT, links followed). To reopen, it closes that,
 * opens PATH.tmp (O_TRUNC | O_CREAT, links followed), renames PATH.tmp to PATH, which here renames the link,
 * and ends when one of these fails (ctr_logging.c, 2.0.6 to 2.2.1).
 */

/** Opens the log of a container that starts; it and its directory are made where they are missing. */
export async function openLog(
  logPath: string,
  linkedRoots: readonly string[],
  signal: AbortSignal,
): Promise<FileHandle> {
  const opening = (async () => {
    using directory = await LogDirectory.open(dirname(logPath), { linkedRoots, make: true });
    return await directory.append(basename(logPath));
  })();
  try {
    return await beforeAbort(opening, signal);
  } catch (error) {
    // A disk that hangs may answer yet.
    void opening.then((file) => file.close()).catch(() => undefined);
    throw error;
  }
}

/** What conmon is told for its log; its working directory is the bundle. */
export const logName = "cri-log";

/** The link by which conmon finds the log that it inherits as its stdin, which it closes soon after. */
export function startLink(places: StateLayout, id: string): FileStep {
  return { step: "make-link", path: places.file(id, "cri-log"), target: "/proc/self/fd/0" };
}

/** False for a container of a davit before this: its conmon knows the log by its own path. */
export function hasLogLink(places: StateLayout, id: string): boolean {
  return isThere(places.file(id, "cri-log"));
}

/** Whether conmon was shown a new log that it has not taken. */
export function isOffered(places: StateLayout, id: string): boolean {
  return isThere(places.file(id, "cri-log.tmp"));
}

/** Whether anything is there of an offer that did not come to its end. */
export function isLeft(places: StateLayout, id: string): boolean {
  return isThere(places.file(id, "next-log"));
}

/**
 * Puts an open file where conmon will look for its new log. It stays there without this process, since a conmon
 * that finds nothing there ends: so it is a mount and not a descriptor of ours. Nothing may be left of an earlier
 * offer.
 */
export async function offerLog(places: StateLayout, id: string, fd: number): Promise<void> {
  const next = places.file(id, "next-log");
  try {
    writeFileSync(next, "", { mode: 0o600, flag: "wx" });
    await bindMount(`/proc/self/fd/${fd}`, next, { private: true });
    symlinkSync("next-log", places.file(id, "cri-log.tmp"));
  } catch (cause) {
    throw systemError(`show conmon its new log in "${next}"`, cause);
  }
}

/** Takes away what offerLog() made, also where it failed. Idempotent. */
export async function endOffer(places: StateLayout, id: string): Promise<void> {
  const next = places.file(id, "next-log");
  await unmount(next);
  for (const path of [places.file(id, "cri-log.tmp"), next]) rmSync(path, { force: true });
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
