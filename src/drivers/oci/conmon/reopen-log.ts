import { basename, dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../../base/errors.ts";
import { type FileIdentity, LogDirectory } from "../../../linux/file/index.ts";
import { controlTurn, takeBackMessages, tellMonitor } from "./control-fifo.ts";
import { endOffer, hasLogLink, isLeft, isOffered, offerLog } from "./log-links.ts";
import { holds, openFiles, type Waited, waitForMonitor } from "./monitor-files.ts";
import type { StateLayout } from "../state-layout.ts";

/** conmon's control message: type 2 is "reopen logs"; the two numbers belong to type 1, a resize. */
const reopenMessage = "2 0 0\n";
const defaultPatienceMs = 5_000;
/** How long conmon may be between reading a message and closing the log that it had. */
const settleMs = 100;

/** A log whose conmon is to go on in a new file. */
export interface LogTarget {
  readonly id: string;
  readonly places: StateLayout;
  readonly monitorPid: number;
  readonly logPath: string;
  /** See LogDirectoryOptions. */
  readonly linkedRoots: readonly string[];
  /** How long conmon may take. */
  readonly patienceMs?: number;
}

/** The directory of a log, its name there, and that of the new file until conmon has it open. */
interface Place {
  readonly directory: LogDirectory;
  readonly name: string;
  readonly hidden: string;
}

/**
 * Has conmon go on in a new file at the log's path, and waits until it does; see ContainerRuntime.reopenLog.
 * While the path still names the file that conmon writes to, nothing is done, as its lines would be lost.
 *
 * The new file has a hidden name until conmon has it open: what has the log's name is finished when it gets
 * another one, and on an error no new file exists. Somebody else who writes in the directory can take the
 * names away, but never have another file opened or changed.
 */
export async function reopenLog(target: LogTarget): Promise<void> {
  const { id, places, monitorPid, logPath, linkedRoots } = target;
  using _turn = await controlTurn(places.file(id, "ctl"));
  const looking = openFiles(monitorPid);
  looking.catch(() => undefined);
  using directory = await LogDirectory.open(dirname(logPath), { linkedRoots });
  const name = basename(logPath);
  const place = { directory, name, hidden: `.${name}.new` };
  const files = await looking;
  if (holds(files, await directory.identity(name))) return;
  if (files === undefined) throw failure(target, "ended");
  if (!hasLogLink(places, id)) {
    await reopenByName(target, place);
    return;
  }
  const left = isLeft(places, id) ? await settle(target, place) : undefined;
  const taken = left ?? (await handOver(target, place));
  const [published, ended] = await Promise.allSettled([
    publish(target, place, taken),
    endOffer(places, id),
  ]);
  for (const each of [published, ended]) if (each.status === "rejected") throw each.reason;
}

/**
 * Brings a reopening to its end whose daemon died, or whose conmon hung. The new file, if conmon has taken it
 * after all: then only its name is wanted.
 */
async function settle(target: LogTarget, place: Place): Promise<FileIdentity | undefined> {
  const { id, places, monitorPid } = target;
  if (isOffered(places, id) && !(await withdraw(target, place)) && isOffered(places, id)) {
    throw failure(target, "late");
  }
  const left = await place.directory.identity(place.hidden);
  if (left !== undefined && holds(await openFiles(monitorPid), left)) return left;
  await endOffer(places, id);
  return undefined;
}

/** Makes the new file and has conmon take it; which file it is. */
async function handOver(target: LogTarget, place: Place): Promise<FileIdentity> {
  const { id, places, monitorPid, patienceMs = defaultPatienceMs } = target;
  const { directory, hidden } = place;
  await using file = await directory.create(hidden);
  const identity = await file.stat({ bigint: true });
  const undo = async (): Promise<void> => {
    await endOffer(places, id);
    await directory.remove(hidden);
  };
  try {
    await offerLog(places, id, file.fd);
    // The mount keeps it.
    file.close().catch(() => undefined);
    await tellMonitor(places.file(id, "ctl"), reopenMessage);
  } catch (error) {
    await undo();
    throw error;
  }
  const waited = await waitForMonitor(monitorPid, () => !isOffered(places, id), patienceMs);
  if (waited === "done") return identity;
  const isOver = waited === "ended" || (await withdraw(target, place));
  if (isOver) await undo();
  // One that conmon may be about to take stays where it is: the next call finds what became of it.
  if (isOver || isOffered(places, id)) throw failure(target, waited);
  return identity;
}

/** Sees to it that conmon does not take an offered log. False when it has, or may be about to. */
async function withdraw({ id, places, monitorPid }: LogTarget, place: Place): Promise<boolean> {
  if (!(await takeBackMessages(places.file(id, "ctl")))) {
    await delay(settleMs);
    const { directory, hidden } = place;
    const there = (await directory.identity(hidden)) ?? (await directory.identity("."));
    const files = await openFiles(monitorPid);
    // conmon closes the log that it has before it opens the new one.
    if (files?.some(({ dev }) => dev === there?.dev) === false || !isOffered(places, id)) {
      return false;
    }
  }
  await endOffer(places, id);
  return true;
}

/** Gives the new file the log's name. */
async function publish(
  { logPath }: LogTarget,
  { directory, name, hidden }: Place,
  file: FileIdentity,
): Promise<void> {
  await directory.rename(hidden, name);
  if (holds([file], await directory.identity(name))) return;
  throw new RuntimeError(
    "failed-precondition",
    `reopen log "${logPath}": something else renames files in its directory`,
  );
}

/**
 * For containers that an older davit has started: their conmon makes "NAME.tmp" itself, by its path, and
 * follows what it finds there. So that is a new file when it is told to; somebody who watches the directory
 * could still put a link in its place in the moment between.
 */
async function reopenByName(target: LogTarget, { directory, name }: Place): Promise<void> {
  const { id, places, monitorPid, patienceMs = defaultPatienceMs } = target;
  const temporary = `${name}.tmp`;
  await (await directory.create(temporary)).close();
  const isDone = async (): Promise<boolean> =>
    holds(await openFiles(monitorPid), await directory.identity(name));
  let waited: Waited = "ended";
  try {
    await tellMonitor(places.file(id, "ctl"), reopenMessage);
    waited = await waitForMonitor(monitorPid, isDone, patienceMs);
  } finally {
    if (waited === "ended") await directory.remove(temporary);
  }
  if (waited === "done") return;
  // It may have ended with the container just after it made the file.
  if (waited === "ended" && (await directory.identity(name)) !== undefined) return;
  throw failure(target, waited);
}

function failure({ logPath, monitorPid, ...target }: LogTarget, waited: Waited): RuntimeError {
  const { patienceMs = defaultPatienceMs } = target;
  return waited === "ended"
    ? new RuntimeError("failed-precondition", `reopen log "${logPath}": conmon has ended`)
    : new RuntimeError(
        "deadline-exceeded",
        `reopen log "${logPath}": conmon ${monitorPid} has not done it after ${patienceMs} ms`,
      );
}
