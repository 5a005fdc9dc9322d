// Where the logs and emptyDir volumes of this program's pods are.
import { lstat, mkdir, mkdtemp, readdir, readFile, readlink, rm } from "node:fs/promises";
import { readFileSync, readlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import process from "node:process";
import { defaultPodsDirectory, makePodsDirectory } from "../client/pods/pods-directory.ts";
import { createVolumes } from "../client/pods/volumes.ts";
import type { Rollback } from "../base/rollback.ts";
import { mountTmpfs, unmountAll } from "./tmpfs.ts";
import { ownPodDirectory, type PodManifest, type PodNames } from "../manifest/index.ts";

const prefix = "davit-sdk-";

/**
 * The directories of the pods of one connection: one below the temporary directory, which is removed with the pods. Its
 * name says which process it belongs to, so that other programs remove what a killed one has left.
 */
export class PodDirectories {
  #own: Promise<string> | undefined;

  /** The parent directory for pods. */
  async root(keep: boolean): Promise<string> {
    if (!keep) {
      this.#own ??= makeOwn();
      return await this.#own;
    }
    // The command line finds the files of pods that stay there.
    return process.geteuid?.() === 0
      ? defaultPodsDirectory
      : join(tmpdir(), `davit-pods-${process.geteuid?.()}`);
  }

  /** Makes the directory of a pod, with its volumes and those of its logs. `undo` removes it. */
  readonly makeVolumes = async (pod: PodManifest, undo: Rollback): Promise<void> => {
    undo.defer(`remove directory "${pod.directory}"`, () => removeDirectory(pod.directory));
    await makePodsDirectory(dirname(pod.directory));
    await mkdir(pod.directory, { recursive: true, mode: 0o755 });
    // Made here, so that a program without root can remove them.
    await Promise.all(
      [...pod.initContainers, ...pod.containers].map(({ name }) =>
        mkdir(join(pod.directory, "logs", name), { recursive: true, mode: 0o755 }),
      ),
    );
    await createVolumes(pod, mountTmpfs);
  };

  /** Removes the directory of a pod that was removed, if it has one. */
  async removeOf(names: PodNames): Promise<void> {
    const roots = [await this.root(true), ...(this.#own === undefined ? [] : [await this.#own])];
    for (const root of roots) {
      const directory = ownPodDirectory(root, names);
      if (directory !== undefined) await removeDirectory(directory);
    }
  }

  /** Removes the directory of this connection, at its end. */
  async remove(): Promise<void> {
    if (this.#own === undefined) return;
    await removeDirectory(await this.#own);
    await removeLeftovers();
  }
}

/** What root has put there stays if this process is not root. */
async function removeDirectory(path: string): Promise<void> {
  // rm() enters mounts.
  if (!(await unmountAll(path))) return;
  await rm(path, { recursive: true, force: true }).catch(() => undefined);
}

async function makeOwn(): Promise<string> {
  await removeLeftovers();
  return await mkdtemp(join(tmpdir(), `${prefix}${thisProcess()}-`));
}

/** A pid alone may be that of a later process, or of one in another PID namespace that has the same /tmp. */
function thisProcess(): string {
  const namespace = /\d+/.exec(readlinkSync("/proc/self/ns/pid"))?.[0] ?? "";
  return `${namespace}-${process.pid}-${startTime(readFileSync("/proc/self/stat", "utf8"))}`;
}

/** Removes this user's directories of processes of this PID namespace that have ended. Others may write to /tmp. */
async function removeLeftovers(): Promise<void> {
  const namespace = /\d+/.exec(await readlink("/proc/self/ns/pid"))?.[0] ?? "";
  for (const name of await readdir(tmpdir())) {
    const [, owner, pid = "", start] = /^davit-sdk-(\d+)-(\d+)-(\d+)-/.exec(name) ?? [];
    if (owner !== namespace) continue;
    const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
    const path = join(tmpdir(), name);
    if (startTime(stat) !== start && (await isOwn(path))) await removeDirectory(path);
  }
}

async function isOwn(path: string): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  return stats?.isDirectory() === true && stats.uid === process.geteuid?.();
}

/** Field 22 of /proc/PID/stat, proc_pid_stat(5). The second field is a name, which may contain anything. */
function startTime(stat: string): string {
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}
