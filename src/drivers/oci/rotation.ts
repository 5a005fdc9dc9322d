/** Rotations of logs that a daemon has begun, and that the next one completes if it dies. */
import { readFileSync, rmSync, writeFileSync } from "node:fs";

import { KeyedLock } from "../../base/keyed-lock.ts";
import { errnoCode } from "../../base/system-error.ts";
import type { FileIdentity } from "../../linux/file/index.ts";
import type { LogTarget } from "./container-monitor.ts";
import { type LogNames, openLogNames, publish } from "./new-log.ts";
import { holds, openFiles } from "./open-files.ts";

type Subject = Pick<LogTarget, "id" | "paths">;

/** A rotation whose new file may be in use and have no name yet. */
interface BegunRotation {
  readonly logPath: string;
  readonly file: FileIdentity;
}

const locks = new KeyedLock();

/** The right to change the files of a container's log, until it is disposed of. */
export function lockRotation(id: string): Promise<Disposable> {
  return locks.acquire(id);
}

/** Notes the new file of a rotation in the bundle, before the monitor gets it. */
export function noteRotation(
  { id, paths, logPath }: Subject & Pick<LogTarget, "logPath">,
  { dev, ino }: FileIdentity,
): void {
  const text = JSON.stringify({ logPath, dev: String(dev), ino: String(ino) });
  try {
    writeFileSync(paths.file(id, "rotation"), text, { mode: 0o600 });
  } catch {
    // Without the note, as on a full disk, lines wait for the next rotation if this daemon dies now. The log must
    // not grow because of that.
  }
}

/** Removes the note: the new file has its name, or no monitor has it. */
export function forgetRotation({ id, paths }: Subject): void {
  rmSync(paths.file(id, "rotation"), { force: true });
}

/**
 * Completes a rotation that a daemon has begun and that got stuck between the use of the new file and its name: the daemon
 * died, or the file could not be renamed. `monitorPid` is undefined when the monitor has ended, and its file is
 * complete. True when the file got the log's name. Idempotent, and can be interrupted.
 */
export async function completeRotation({
  monitorPid,
  ...target
}: Subject &
  Pick<LogTarget, "linkedRoots"> & { readonly monitorPid: number | undefined }): Promise<boolean> {
  using _lock = await lockRotation(target.id);
  const begun = readNote(target);
  if (begun === undefined) return false;
  const { logPath, file } = begun;
  using names = await openLogNames({ ...target, logPath });
  const { directory, hidden } = names;
  const found = await directory.identity(hidden);
  const isFound = holds([file], found);
  if (isFound && monitorPid !== undefined && !holds(await openFiles(monitorPid), file)) {
    // The monitor did not take it. The next rotation removes it, and so does the end of the container.
    return false;
  }
  // An ended monitor that has the file and wrote nothing leaves no line there: a log that has its name stays what it was.
  const isUsed =
    isFound &&
    (monitorPid !== undefined ||
      found?.size !== 0n ||
      (await directory.identity(names.name)) === undefined);
  if (isUsed) await publishLate(logPath, names, file);
  else if (isFound) await directory.remove(hidden);
  forgetRotation(target);
  return isUsed;
}

/**
 * Gives the new file of an earlier rotation the log's name. A caller whose rotation failed, such as kubelet, has given the
 * old file that name again: it becomes a rotated log, as its lines are nowhere else.
 */
export async function publishLate(
  logPath: string,
  names: LogNames,
  file: FileIdentity,
): Promise<void> {
  const { directory, name } = names;
  const current = await directory.identity(name);
  if (current !== undefined && !holds([file], current)) {
    try {
      await directory.rename(name, rotatedName(name, new Date()));
    } catch (error) {
      // The next rotation has begun meanwhile.
      if (errnoCode(error) !== "ENOENT") throw error;
    }
  }
  await publish({ logPath }, names, file);
}

/**
 * The name that kubelet gives to a log that it rotates, so that it counts and removes the file with its own, and
 * milliseconds: a rotation by kubelet in the same second must not replace it.
 */
function rotatedName(name: string, at: Date): string {
  const digits = (value: number, width = 2): string => String(value).padStart(width, "0");
  const date = `${at.getFullYear()}${digits(at.getMonth() + 1)}${digits(at.getDate())}`;
  const time = `${digits(at.getHours())}${digits(at.getMinutes())}${digits(at.getSeconds())}`;
  return `${name}.${date}-${time}.${digits(at.getMilliseconds(), 3)}`;
}

/** Undefined without a note, and for one that is not complete: then no monitor got the file. */
function readNote({ id, paths }: Subject): BegunRotation | undefined {
  try {
    const { logPath, dev, ino } = JSON.parse(
      readFileSync(paths.file(id, "rotation"), "utf8"),
    ) as Readonly<Record<string, unknown>>;
    if (typeof logPath !== "string" || typeof dev !== "string" || typeof ino !== "string") {
      return undefined;
    }
    return { logPath, file: { dev: BigInt(dev), ino: BigInt(ino) } };
  } catch {
    return undefined;
  }
}
