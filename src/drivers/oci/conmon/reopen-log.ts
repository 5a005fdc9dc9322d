import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../../base/errors.ts";
import type { FileIdentity } from "../../../linux/file/index.ts";
import type { LogTarget } from "../container-monitor.ts";
import { type LogNames, openLogNames, publish } from "../new-log.ts";
import { holds, openFiles } from "../open-files.ts";
import { forgetRotation, lockRotation, noteRotation, publishLate } from "../rotation.ts";
import { lockControlFifo, discardUnread, sendToMonitor } from "./control-fifo.ts";
import { endOffer, hasLogLink, isOfferLeft, isOffered, offerLog } from "./log-links.ts";
import { type WaitResult, waitForMonitor } from "./wait.ts";

/** conmon's control message: type 2 is "reopen logs"; the two numbers belong to type 1, a resize. */
const reopenMessage = "2 0 0\n";
const defaultTimeoutMs = 5_000;
/** How much time may pass between conmon's reading a message and its closing the old log. */
const closeMs = 100;

/**
 * Has conmon continue in a new file at the log's path; see ContainerMonitor.reopenLog.
 *
 * The new file has a hidden name until conmon has opened it. So the file at the log's path is in use, and after an
 * error no new file exists. A process that writes in the directory can remove the names, but it cannot
 * have another file opened or changed.
 */
export async function reopenLog(target: LogTarget): Promise<void> {
  const { id, paths, monitorPid, operation } = target;
  using _rotation = await lockRotation(id);
  using _lock = await lockControlFifo(paths.file(id, "ctl"));
  const listing = openFiles(monitorPid);
  listing.catch(() => undefined);
  using names = await openLogNames(target);
  const files = await listing;
  if (holds(files, await names.directory.identity(names.name))) return;
  if (files === undefined) throw failure(target, "ended");
  if (!hasLogLink(paths, id)) {
    await reopenByName(target, names);
    return;
  }
  const earlier = isOfferLeft(paths, id) ? await finishEarlier(target, names) : undefined;
  const opened = earlier ?? (await offerNewFile(target, names));
  await operation?.enter("publish-log");
  const publishing =
    earlier === undefined
      ? publish(target, names, opened)
      : publishLate(target.logPath, names, earlier);
  const [published, ended] = await Promise.allSettled([publishing, endOffer(paths, id)]);
  if (published.status === "fulfilled") forgetRotation(target);
  for (const each of [published, ended]) if (each.status === "rejected") throw each.reason;
}

/**
 * Finishes a reopen whose daemon died or whose conmon hung. Returns the new file if conmon has opened it
 * after all: then the file only needs its name.
 */
async function finishEarlier(
  target: LogTarget,
  names: LogNames,
): Promise<FileIdentity | undefined> {
  const { id, paths, monitorPid } = target;
  if (isOffered(paths, id) && !(await withdraw(target, names)) && isOffered(paths, id)) {
    throw failure(target, "late");
  }
  const file = await names.directory.identity(names.hidden);
  if (file !== undefined && holds(await openFiles(monitorPid), file)) return file;
  await endOffer(paths, id);
  return undefined;
}

/** Creates the new file and has conmon open it. */
async function offerNewFile(target: LogTarget, names: LogNames): Promise<FileIdentity> {
  const { id, paths, monitorPid, operation, timeoutMs = defaultTimeoutMs } = target;
  const { directory, hidden } = names;
  await using file = await directory.create(hidden);
  const identity = await file.stat({ bigint: true });
  const undo = async (): Promise<void> => {
    await endOffer(paths, id);
    await directory.remove(hidden);
    forgetRotation(target);
  };
  noteRotation(target, identity);
  try {
    await operation?.enter("hand-over-log");
    await offerLog(paths, id, file.fd);
    // The mount keeps the file open.
    file.close().catch(() => undefined);
    await sendToMonitor(paths.file(id, "ctl"), reopenMessage);
  } catch (error) {
    await undo();
    throw error;
  }
  const waited = await waitForMonitor(monitorPid, () => !isOffered(paths, id), timeoutMs);
  if (waited === "done") return identity;
  const isWithdrawn = waited === "ended" || (await withdraw(target, names));
  if (isWithdrawn) await undo();
  // A file that conmon may be about to open stays where it is. The next call handles it (finishEarlier()).
  if (isWithdrawn || isOffered(paths, id)) throw failure(target, waited);
  return identity;
}

/** Ends an offer so that conmon does not open the file. False when conmon has opened it or may be about to. */
async function withdraw({ id, paths, monitorPid }: LogTarget, names: LogNames): Promise<boolean> {
  if (!(await discardUnread(paths.file(id, "ctl")))) {
    await delay(closeMs);
    const { directory, hidden } = names;
    const onDisk = (await directory.identity(hidden)) ?? (await directory.identity("."));
    const files = await openFiles(monitorPid);
    // conmon closes the old log before it opens the new one.
    if (files?.some(({ dev }) => dev === onDisk?.dev) === false || !isOffered(paths, id)) {
      return false;
    }
  }
  await endOffer(paths, id);
  return true;
}

/**
 * For containers that an older davit has started: their conmon opens "NAME.tmp" itself, by its path, and
 * follows links there. So this creates that file first. A process that watches the directory could
 * still replace it by a link before conmon opens it.
 */
async function reopenByName(target: LogTarget, { directory, name }: LogNames): Promise<void> {
  const { id, paths, monitorPid, timeoutMs = defaultTimeoutMs } = target;
  const temporary = `${name}.tmp`;
  await (await directory.create(temporary)).close();
  const isDone = async (): Promise<boolean> =>
    holds(await openFiles(monitorPid), await directory.identity(name));
  let waited: WaitResult = "ended";
  try {
    await sendToMonitor(paths.file(id, "ctl"), reopenMessage);
    waited = await waitForMonitor(monitorPid, isDone, timeoutMs);
  } finally {
    if (waited === "ended") await directory.remove(temporary);
  }
  if (waited === "done") return;
  // conmon may have ended with the container just after it created the file.
  if (waited === "ended" && (await directory.identity(name)) !== undefined) return;
  throw failure(target, waited);
}

function failure({ logPath, monitorPid, ...target }: LogTarget, waited: WaitResult): RuntimeError {
  const { timeoutMs = defaultTimeoutMs } = target;
  return waited === "ended"
    ? new RuntimeError("failed-precondition", `reopen log "${logPath}": conmon has ended`)
    : new RuntimeError(
        "deadline-exceeded",
        `reopen log "${logPath}": conmon ${monitorPid} has not done it after ${timeoutMs} ms`,
      );
}
