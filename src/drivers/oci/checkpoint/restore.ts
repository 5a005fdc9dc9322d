import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";

import { messageOf, RuntimeError, wrap } from "../../../base/errors.ts";
import { KeyedLock } from "../../../base/keyed-lock.ts";
import type { Logger } from "../../../base/logger.ts";
import { beforeAbort } from "../../../base/wait.ts";
import type { RestoreSource } from "../../../core/container/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import { runFileSteps } from "../../../linux/file/index.ts";
import { mountOverlay, unmount } from "../../../linux/mount/index.ts";
import {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "../../../linux/stream/index.ts";
import type { MonitorRestore } from "../container-monitor.ts";
import { checkCgroups } from "./check-cgroups.ts";
import { checkImages } from "./check-images.ts";
import { commonOptions, criuConfig } from "./criu-config.ts";
import { endCriu } from "./end-criu.ts";
import { linkedMounts } from "./external-mounts.ts";
import { explainLateRestore, explainRestore } from "./failure.ts";
import { withHostname } from "./images/uts.ts";
import { restoreLastPid, sharedPids } from "./last-pid.ts";
import { readImage } from "./read-image.ts";
import { removeRootYards, removeYards } from "./restore-mounts.ts";
import { closesTcpByOption } from "./runtime-options.ts";
import { presentIpcObjects } from "./shared-ipc.ts";

/** A container that is to continue from images, and where that works. */
export interface RestorePlan {
  readonly id: string;
  readonly spec: OciSpec;
  readonly cgroupPath: string;
  readonly restore: RestoreSource;
  /** Path or name of the OCI runtime. */
  readonly runtimePath: string;
  /** A directory that does not exist, for the files of the restore. */
  readonly directory: string;
  /** The directory in which CRIU works. */
  readonly work: string;
  /** Where CRIU's configuration is written: the OCI runtime has the path in CRIU_CONFIG_FILE. */
  readonly config: string;
  /** What may be mounted meanwhile, with the images in the directory first. */
  readonly mounts: readonly [string, ...string[]];
  readonly log: Logger;
}

/** A restore that is ready to be started. */
export interface PreparedRestore {
  /** For what starts the OCI runtime. */
  readonly monitor: MonitorRestore;
  /**
   * Resolves with the pid of the first process when all processes are restored and wait for letRun(). `answer` is
   * that of the monitor, or of another program that runs the OCI runtime; its failure is explained. Rejects when the signal
   * is aborted, and says so if CRIU waited for a lock then.
   */
  created(answer: Promise<unknown>, signal: AbortSignal): Promise<number>;
  /** Lets the processes run on. Resolves when the OCI runtime has ended as well. */
  letRun(answer: Promise<unknown>): Promise<void>;
  /** Ends CRIU before the processes run: it undoes what it has made, also outside of the bundle. Never rejects. */
  end(): Promise<void>;
  /** Removes the mounts, also those of an OCI runtime that was ended, and closes the descriptors. Never rejects. */
  close(): Promise<void>;
}

/**
 * CRIU runs it at each step of a restore. After the step "post-restore" all processes exist and have run nothing of
 * their own. If it fails then, CRIU ends them, and it fails when davit ends.
 */
const actionScript = `#!/bin/sh
[ "$CRTOOLS_SCRIPT_ACTION" = post-restore ] || exit 0
cd "\${0%/*}" && echo "$CRTOOLS_INIT_PID" >restored && read -r answer <resume && [ "$answer" = run ]
`;

/** By IPC namespace: the first container that is restored there makes the objects of System V for all. */
const ipcLocks = new KeyedLock();

/**
 * Makes the directory of a restore, and CRIU's configuration: the script and the FIFOs by which the processes
 * wait, and the images, as a read-only overlay: those of the checkpoint, which other restores may read at the same
 * time, below those in `own`, which were rewritten for this pod.
 *
 * NOTE(criu): links to the images do not do. It opens some of them when its root is the container's.
 */
export async function prepareRestore(
  plan: RestorePlan,
  signal: AbortSignal,
): Promise<PreparedRestore> {
  const { id, spec, restore, runtimePath, directory, config } = plan;
  const file = (name: string): string => join(directory, name);
  const ipc = spec.linux.namespaces.find(({ type }) => type === "ipc")?.path;
  const ipcLock = ipc === undefined ? undefined : await ipcLocks.acquire(ipc, signal);
  try {
    await checkImages(restore.images, spec);
    const options = [
      ...commonOptions,
      ["action-script", file("action")] as const,
      ...(restore.closeTcp ? ["tcp-close"] : []),
      ...(await linkedMounts(runtimePath, spec, "restore")),
    ];
    await runFileSteps([
      { step: "make-directory", path: directory, mode: 0o700 },
      { step: "make-directory", path: file("images"), mode: 0o700 },
      { step: "write-file", path: file("action"), mode: 0o700, text: actionScript },
      { step: "write-file", path: config, mode: 0o600, text: criuConfig(options) },
      { step: "make-directory", path: file("own"), mode: 0o700 },
    ]);
    await writeOwnImages(file("own"), restore, ipc);
    for (const fifo of ["restored", "resume"]) makeFifo(file(fifo));
    await mountOverlay({ directory, target: "images", lower: ["own", restore.images] });
    return new Restore({
      ...plan,
      images: restore.images,
      pids: sharedPids(spec),
      ipcLock,
      monitor: {
        images: file("images"),
        options: await runtimeArguments(runtimePath, restore),
        env: { CRIU_CONFIG_FILE: config },
      },
    });
  } catch (cause) {
    ipcLock?.[Symbol.dispose]();
    throw wrap(`prepare restore of container "${id}"`, cause);
  }
}

async function runtimeArguments(
  runtimePath: string,
  { closeTcp }: RestoreSource,
): Promise<readonly string[]> {
  const byOption = closeTcp && (await closesTcpByOption(runtimePath));
  return ["--ext-unix-sk", "--file-locks", ...(byOption ? ["--tcp-close"] : [])];
}

/** Writes the images that differ from those of the checkpoint. */
async function writeOwnImages(
  directory: string,
  restore: RestoreSource,
  ipc: string | undefined,
): Promise<void> {
  const write = (name: string, image: Uint8Array): Promise<void> =>
    writeFile(join(directory, name), image, { mode: 0o600 });
  const present = ipc === undefined ? [] : await presentIpcObjects(restore.images, ipc);
  for (const [name, image] of present) await write(name, image);
  for (const name of await readdir(restore.images)) {
    if (!/^utsns-\d+\.img$/.test(name)) continue;
    await write(name, withHostname(await readImage(join(restore.images, name)), restore.hostname));
  }
}

interface RestoreFiles
  extends Pick<RestorePlan, "directory" | "work" | "mounts" | "cgroupPath" | "log"> {
  readonly images: string;
  /** The PID namespace of the pod, if it is shared. */
  readonly pids: string | undefined;
  readonly ipcLock: Disposable | undefined;
  readonly monitor: MonitorRestore;
}

class Restore implements PreparedRestore {
  readonly monitor: MonitorRestore;
  readonly #restore: RestoreFiles;
  readonly #restored: FifoReader;
  readonly #resume: FifoWriter;

  constructor(restore: RestoreFiles) {
    this.monitor = restore.monitor;
    this.#restore = restore;
    const { directory } = restore;
    this.#restored = openFifoReader(join(directory, "restored"));
    this.#resume = openFifoWriter(join(directory, "resume"));
  }

  async created(answer: Promise<unknown>, signal: AbortSignal): Promise<number> {
    const restored = Promise.race([firstLine(this.#restored.stream), this.#explained(answer)]);
    const line = await beforeAbort(restored, signal).catch(async (cause: unknown) => {
      throw signal.aborted ? await explainLateRestore(this.#restore.work, cause) : cause;
    });
    const pid = Number(line);
    if (!Number.isInteger(pid) || pid <= 0) {
      throw new RuntimeError("internal", "restore: CRIU has not named the first process");
    }
    const { pids, images, ipcLock, cgroupPath } = this.#restore;
    ipcLock?.[Symbol.dispose]();
    await checkCgroups(pid, cgroupPath);
    if (pids !== undefined) await restoreLastPid(pids, images);
    return pid;
  }

  async letRun(answer: Promise<unknown>): Promise<void> {
    this.#resume.stream.write("run\n");
    await this.#explained(answer);
  }

  async #explained(answer: Promise<unknown>): Promise<void> {
    try {
      await answer;
    } catch (cause) {
      throw await explainRestore(this.#restore.work, cause);
    }
  }

  async end(): Promise<void> {
    this.#resume.stream.write("stop\n");
    const { work, log } = this.#restore;
    try {
      await endCriu(work, log);
      await removeRootYards(join(work, "restore.log"));
    } catch (error) {
      log.warn(`failed to end CRIU of a restored container: ${messageOf(error)}`, { error });
    }
  }

  async close(): Promise<void> {
    this.#restored.close();
    this.#resume.close();
    const { work, ipcLock, mounts, log } = this.#restore;
    ipcLock?.[Symbol.dispose]();
    try {
      await unmount(...mounts);
      await removeYards(work);
    } catch (error) {
      log.warn(`failed to unmount images of a restored container: ${messageOf(error)}`, { error });
    }
  }
}

async function firstLine(stream: Readable): Promise<string> {
  let text = "";
  for await (const chunk of stream) {
    text += String(chunk);
    const end = text.indexOf("\n");
    if (end >= 0) return text.slice(0, end);
  }
  return text;
}
