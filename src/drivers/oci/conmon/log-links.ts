import { lstatSync, rmSync, symlinkSync, writeFileSync } from "node:fs";

import { bindMount, unmount } from "../../../linux/mount/index.ts";
import { systemError } from "../../../base/system-error.ts";
import type { StateLayout } from "../state-layout.ts";

/*
 * conmon opens its log by a name in the bundle, which no container can change: a symbolic link to a file that
 * davit has opened. See docs/decisions/0015-log-files.md.
 *
 * NOTE(conmon): it opens PATH when it starts (O_APPEND | O_CREAT, links followed). To reopen, it closes that,
 * opens PATH.tmp (O_TRUNC | O_CREAT, links followed), renames PATH.tmp to PATH, which here renames the link,
 * and ends when one of these fails (ctr_logging.c, 2.0.6 to 2.2.1).
 */

/** The log's path for conmon, whose working directory is the bundle. */
export const logName = "cri-log";

/** Where that name leads when conmon starts: to the log that it inherits as its stdin. conmon closes its stdin soon after. */
export const logSource = "/proc/self/fd/0";

/** False for a container of an older davit: its conmon opens the log by the log's own path. */
export function hasLogLink(paths: StateLayout, id: string): boolean {
  return exists(paths.file(id, "cri-log"));
}

/** Whether conmon was offered a new log that it has not opened yet. */
export function isOffered(paths: StateLayout, id: string): boolean {
  return exists(paths.file(id, "cri-log.tmp"));
}

/** Whether files of an offer exist that was not ended. */
export function isOfferLeft(paths: StateLayout, id: string): boolean {
  return exists(paths.file(id, "next-log"));
}

/**
 * Puts an open file where conmon opens its new log. A conmon that finds no file there ends, even if this process
 * has died meanwhile: so it is a mount and not a descriptor of ours. An earlier offer must have been ended.
 */
export async function offerLog(paths: StateLayout, id: string, fd: number): Promise<void> {
  const next = paths.file(id, "next-log");
  try {
    writeFileSync(next, "", { mode: 0o600, flag: "wx" });
    await bindMount(`/proc/self/fd/${fd}`, next, { private: true });
    symlinkSync("next-log", paths.file(id, "cri-log.tmp"));
  } catch (cause) {
    throw systemError(`offer conmon its new log in "${next}"`, cause);
  }
}

/** Removes what offerLog() made, even if it failed. Idempotent. */
export async function endOffer(paths: StateLayout, id: string): Promise<void> {
  const next = paths.file(id, "next-log");
  await unmount(next);
  for (const path of [paths.file(id, "cri-log.tmp"), next]) rmSync(path, { force: true });
}

function exists(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
}
