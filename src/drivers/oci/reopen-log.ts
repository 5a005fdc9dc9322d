import { open, readdir, stat, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

import { RuntimeError } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../linux/index.ts";
import { tellMonitor } from "./control-fifo.ts";

/** conmon's control message: type 2 is "reopen logs"; the two numbers belong to type 1, a resize. */
const reopenMessage = "2 0 0\n";
const patienceMs = 5_000;

/**
 * Has conmon open its log anew, and waits until it writes there; see ContainerRuntime.reopenLog.
 *
 * NOTE(conmon): it makes `<path>.tmp`, renames it over the path, and ends when it cannot make it,
 * which would cut the container's output off for good. So whether a file can be made there is tried
 * first; and while the path still names the file that conmon writes to, nothing is done, as its
 * lines would be lost.
 */
export async function reopenLog(options: {
  readonly monitorPid: number;
  /** conmon's control fifo. */
  readonly control: string;
  readonly logPath: string;
}): Promise<void> {
  const { monitorPid, control, logPath } = options;
  const before = await logState(monitorPid, logPath);
  if (before === "open") return;
  if (before === "ended") {
    throw new RuntimeError("failed-precondition", `reopen log "${logPath}": conmon has ended`);
  }
  await tryToCreate(logPath);
  await tellMonitor(control, reopenMessage);
  const deadline = performance.now() + patienceMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const state = await logState(monitorPid, logPath);
    // It may have ended with the container just after it made the file, or just before.
    if (state === "open" || (state === "ended" && (await statOf(logPath)) !== undefined)) return;
    if (state === "ended" || performance.now() > deadline) {
      const why = state === "ended" ? "has ended" : `has not done it after ${patienceMs} ms`;
      throw new RuntimeError(
        state === "ended" ? "failed-precondition" : "deadline-exceeded",
        `reopen log "${logPath}": conmon ${monitorPid} ${why}`,
      );
    }
    await delay(waitMs);
  }
}

/**
 * "open" when the process has the file at `path` open, as that file and not only by that name;
 * "ended" when the process is gone, or has closed everything on its way out.
 */
async function logState(pid: number, path: string): Promise<"open" | "elsewhere" | "ended"> {
  const file = await statOf(path);
  const folder = `/proc/${pid}/fd`;
  let names: readonly string[];
  try {
    names = await readdir(folder);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return "ended";
    throw systemError(`look for log "${path}"`, cause);
  }
  if (names.length === 0) return "ended";
  if (file === undefined) return "elsewhere";
  const opened = await Promise.all(names.map((name) => statOf(join(folder, name))));
  const isOpen = opened.some((other) => other?.ino === file.ino && other.dev === file.dev);
  return isOpen ? "open" : "elsewhere";
}

async function statOf(
  path: string,
): Promise<{ readonly dev: bigint; readonly ino: bigint } | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (cause) {
    const code = errnoCode(cause);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw systemError(`look at "${path}"`, cause);
  }
}

/** Under a name that no log has, so that a reader of logs does not take it for one. */
async function tryToCreate(logPath: string): Promise<void> {
  const probe = join(dirname(logPath), `.${basename(logPath)}.probe`);
  try {
    await (await open(probe, "w", 0o600)).close();
    await unlink(probe);
  } catch (cause) {
    throw systemError(`reopen log "${logPath}"`, cause);
  }
}
