import { RuntimeError, wrap } from "../../../base/errors.ts";
import { valueWithin } from "../../../base/wait.ts";
import type { LogTarget } from "../container-monitor.ts";
import { openLogNames, publish } from "../new-log.ts";
import { holds, openFiles } from "../open-files.ts";
import { forgetRotation, lockRotation, noteRotation, publishLate } from "../rotation.ts";
import { ControlConnection } from "./control.ts";

const defaultTimeoutMs = 5_000;

/**
 * Gives davit-monitor a new file for the log; see ContainerMonitor.reopenLog.
 *
 * davit creates the file under a hidden name, sends its descriptor, and gives it the log's name after the answer. So the
 * file at the log's path is in use, and a process that writes in the directory cannot have another file opened. The
 * monitor answers before it switches, and does not switch when its answer cannot be sent. So a request that davit has
 * given up, or that a daemon that died has left, changes nothing. What is left of one that was answered is completed by the
 * next call, the next daemon or the end of the container (rotation.ts).
 */
export async function reopenLog(target: LogTarget): Promise<void> {
  const { id, monitorPid, operation } = target;
  using _lock = await lockRotation(id);
  const listing = openFiles(monitorPid);
  listing.catch(() => undefined);
  using names = await openLogNames(target);
  const { directory, name, hidden } = names;
  const files = await listing;
  if (holds(files, await directory.identity(name))) return;
  if (files === undefined) throw failure(target, "failed-precondition", "davit-monitor has ended");
  const earlier = await directory.identity(hidden);
  if (earlier !== undefined && holds(files, earlier)) {
    await publishLate(target.logPath, names, earlier);
    forgetRotation(target);
    return;
  }
  await using file = await directory.create(hidden);
  const identity = await file.stat({ bigint: true });
  noteRotation(target, identity);
  try {
    await operation?.enter("hand-over-log");
    await handOver(target, file.fd);
  } catch (error) {
    // What cannot be removed now is removed by the next rotation.
    await directory.remove(hidden).catch(() => undefined);
    forgetRotation(target);
    throw error;
  }
  await operation?.enter("publish-log");
  await publish(target, names, identity);
  forgetRotation(target);
}

/** Resolves when the monitor writes to the file; when it rejects, the old log stays in use. */
async function handOver(target: LogTarget, fd: number): Promise<void> {
  const { id, paths, logPath, monitorPid, timeoutMs = defaultTimeoutMs } = target;
  let answer: string | undefined;
  let isLate = false;
  try {
    using connection = new ControlConnection(paths, id);
    const answering = connection.request("log", fd);
    const settled = answering.then(() => true);
    if ((await valueWithin(settled, timeoutMs)) !== true) {
      isLate = true;
      connection.giveUp();
    }
    answer = await answering;
  } catch (cause) {
    throw wrap(`reopen log "${logPath}": send davit-monitor ${monitorPid} the new file`, cause);
  }
  if (answer === "ok") return;
  if (isLate) {
    const text = `davit-monitor ${monitorPid} has not done it after ${timeoutMs} ms`;
    throw failure(target, "deadline-exceeded", text);
  }
  throw answer === undefined
    ? failure(target, "failed-precondition", "davit-monitor has ended or closed the connection")
    : failure(target, "internal", `davit-monitor ${monitorPid} answered "${answer}"`);
}

function failure(
  { logPath }: LogTarget,
  kind: "failed-precondition" | "deadline-exceeded" | "internal",
  text: string,
): RuntimeError {
  return new RuntimeError(kind, `reopen log "${logPath}": ${text}`);
}
