import { existsSync, readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { isKind, kindOf, messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { type FileLock, lockFile } from "../../linux/file/index.ts";

/** A directory of the configuration, for {@link takeDirectory}. */
interface DirectoryToTake {
  /** Its setting, for errors. */
  readonly key: "root" | "state" | "writable_root";
  readonly directory: string;
  /** The version of this davit, which the lock file names. */
  readonly version: string;
}

/**
 * Makes and locks a directory of the configuration. Errors name the setting that can be changed.
 *
 * `failed-precondition`, with the versions of both and its pid, while another daemon uses the directory.
 */
export async function takeDirectory(
  { key, directory, version }: DirectoryToTake,
  log: Logger,
): Promise<Pick<FileLock, "last"> & Disposable> {
  try {
    await makeDirectory(directory);
    return await takeLock(directory, version);
  } catch (error) {
    if (isKind(error, "failed-precondition")) throw error;
    if (key !== "state" && errnoCode(error) === "EROFS" && existsSync(directory)) {
      // What runs must still be served; the lock on the state directory excludes a second daemon.
      const advice = "no pod, container or image can be made until it is mounted read-write";
      log.error(`the file system of ${key} "${directory}" is read-only; ${advice}`);
      return { last: undefined, [Symbol.dispose]: () => undefined };
    }
    const todo = isKind(error, "resource-exhausted") ? "free space there" : "make it writable";
    throw new RuntimeError(
      kindOf(error),
      `use directory "${directory}": ${messageOf(error)}; ${todo}, or set ${key} to another directory in the configuration`,
      { cause: error },
    );
  }
}

/** Like mkdir -p, one directory at a time: Node's own recursion never returns below /proc (Node 24). */
async function makeDirectory(directory: string): Promise<void> {
  if (existsSync(directory)) return;
  const steps = directory.split("/").filter((step) => step !== "");
  for (let depth = 1; depth <= steps.length; depth++) {
    const path = `/${steps.slice(0, depth).join("/")}`;
    try {
      await mkdir(path, { mode: 0o711 });
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw systemError(`make directory "${path}"`, error);
    }
  }
}

/** How long the lock of a daemon that has ended is waited for. */
const lockWaitMs = 2_000;

/**
 * A process that the last daemon was starting when it was killed has a copy of the lock until it runs its own
 * program. So the lock of a daemon that has ended is waited for.
 */
async function takeLock(directory: string, version: string): Promise<FileLock> {
  const path = join(directory, "davit.lock");
  const endMs = performance.now() + lockWaitMs;
  for (;;) {
    const lock = lockFile(path, version);
    if (lock !== undefined) return lock;
    const holder = lockHolder(path);
    if (!hasEnded(holder.pid) || performance.now() > endMs) {
      throw inUse({ directory, path, version }, holder);
    }
    await sleep(10);
  }
}

/** What a lock file says about the daemon that holds it; empty where a full disk kept it from writing that. */
interface LockHolder {
  readonly pid: string;
  readonly version: string;
}

function inUse(
  own: { readonly directory: string; readonly path: string; readonly version: string },
  { pid, version }: LockHolder,
): RuntimeError {
  const named = [
    ...(version === "" ? [] : [` of version ${version}`]),
    ...(pid === "" ? [] : [`, process ${pid},`]),
  ].join("");
  return new RuntimeError(
    "failed-precondition",
    `start davit ${own.version}: another davit daemon${named} uses "${own.directory}" (it holds the lock ` +
      `${own.path}); stop that daemon, or set another root and state for this one`,
  );
}

function hasEnded(pid: string): boolean {
  return /^\d+$/.test(pid) && !existsSync(`/proc/${pid}`);
}

function lockHolder(path: string): LockHolder {
  try {
    const [pid = "", version = ""] = readFileSync(path, "utf8").split("\n");
    return { pid, version: /^[\w.+-]{1,64}$/.test(version) ? version : "" };
  } catch {
    return { pid: "", version: "" };
  }
}
