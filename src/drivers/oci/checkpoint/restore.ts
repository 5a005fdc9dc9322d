import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Readable } from "node:stream";

import { messageOf, RuntimeError, wrap } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import type { ContainerBundle, RestoreSource } from "../../../core/container/index.ts";
import { runFileSteps } from "../../../linux/file/index.ts";
import { mountOverlay, unmount } from "../../../linux/mount/index.ts";
import {
  type FifoReader,
  type FifoWriter,
  makeFifo,
  openFifoReader,
  openFifoWriter,
} from "../../../linux/stream/index.ts";
import type { MonitorRestore } from "../conmon/monitor.ts";
import type { StateLayout } from "../state-layout.ts";
import { commonOptions, criuConfig } from "./criu-config.ts";
import { explainRestore } from "./failure.ts";
import { withHostname } from "./images/uts.ts";
import { restoreMounts } from "./restore-mounts.ts";
import { closesTcpByOption } from "./runtime-options.ts";

/** What {@link prepareRestore} works with. */
export interface RestoreDeps {
  readonly paths: StateLayout;
  readonly log: Logger;
}

/** A restore that is ready to be started by conmon. */
export interface PreparedRestore {
  /** For conmon. */
  readonly monitor: MonitorRestore;
  /**
   * Resolves with the pid of the first process when all processes are restored and wait for letRun(). `answer` is
   * conmon's; its failure is explained.
   */
  created(answer: Promise<number>): Promise<number>;
  /** Lets the processes run on. Resolves when the OCI runtime has ended as well. */
  letRun(answer: Promise<number>): Promise<void>;
  /** Removes the mounts, also those of an OCI runtime that was ended, and closes the descriptors. Never rejects. */
  close(): Promise<void>;
}

/**
 * CRIU runs it at each step of a restore. After the step "post-restore" all processes exist and have run nothing of
 * their own. If it fails then, CRIU ends them, and it fails when davit ends.
 */
const actionScript = `#!/bin/sh
[ "$CRTOOLS_SCRIPT_ACTION" = post-restore ] || exit 0
cd "\${0%/*}" && echo "$CRTOOLS_INIT_PID" >restored && read -r answer <resume
`;

/**
 * Makes the directory `restore` of the bundle: CRIU's configuration, the script and the FIFOs by which the processes
 * wait, and the images, as a read-only overlay: those of the checkpoint, which other restores may read at the same
 * time, below those in `own`, which were rewritten for this pod.
 *
 * NOTE(criu): links to the images do not do. It opens some of them when its root is the container's.
 */
export async function prepareRestore(
  { paths, log }: RestoreDeps,
  start: {
    readonly bundle: ContainerBundle;
    readonly restore: RestoreSource;
    readonly runtimePath: string;
  },
): Promise<PreparedRestore> {
  const { bundle, restore, runtimePath } = start;
  const { id } = bundle;
  const directory = paths.file(id, "restore");
  const file = (name: string): string => join(directory, name);
  try {
    await runFileSteps([
      { step: "make-directory", path: directory, mode: 0o700 },
      { step: "make-directory", path: file("images"), mode: 0o700 },
      { step: "write-file", path: file("action"), mode: 0o700, text: actionScript },
      {
        step: "write-file",
        path: file("criu.conf"),
        mode: 0o600,
        text: criuConfig([
          ...commonOptions,
          ["action-script", file("action")],
          ...(restore.closeTcp ? ["tcp-close"] : []),
        ]),
      },
      { step: "make-directory", path: file("own"), mode: 0o700 },
    ]);
    await writeOwnImages(file("own"), restore);
    for (const fifo of ["restored", "resume"]) makeFifo(file(fifo));
    await mountOverlay({ directory, target: "images", lower: ["own", restore.images] });
  } catch (cause) {
    throw wrap(`prepare restore of container "${id}"`, cause);
  }
  const byOption = restore.closeTcp && (await closesTcpByOption(runtimePath));
  const options = ["--ext-unix-sk", "--file-locks", ...(byOption ? ["--tcp-close"] : [])];
  const monitor = {
    args: ["--restore", file("images"), ...options.map((option) => `--runtime-opt=${option}`)],
    env: { CRIU_CONFIG_FILE: file("criu.conf") },
  };
  const mounts = restoreMounts(paths, id, runtimePath);
  return new Restore({ directory, bundle: paths.bundle(id), mounts, log }, monitor);
}

/** Writes the images that differ from those of the checkpoint. */
async function writeOwnImages(directory: string, restore: RestoreSource): Promise<void> {
  for (const name of await readdir(restore.images)) {
    if (!/^utsns-\d+\.img$/.test(name)) continue;
    const image = withHostname(await readFile(join(restore.images, name)), restore.hostname);
    await writeFile(join(directory, name), image, { mode: 0o600 });
  }
}

interface RestoreFiles {
  /** The directory of the bundle with the files of the restore. */
  readonly directory: string;
  readonly bundle: string;
  readonly mounts: readonly [string, ...string[]];
  readonly log: Logger;
}

class Restore implements PreparedRestore {
  readonly monitor: MonitorRestore;
  readonly #restore: RestoreFiles;
  readonly #restored: FifoReader;
  readonly #resume: FifoWriter;

  constructor(restore: RestoreFiles, monitor: MonitorRestore) {
    this.monitor = monitor;
    this.#restore = restore;
    const { directory } = restore;
    this.#restored = openFifoReader(join(directory, "restored"));
    this.#resume = openFifoWriter(join(directory, "resume"));
  }

  async created(answer: Promise<number>): Promise<number> {
    const failed = this.#explained(answer);
    const pid = await Promise.race([firstLine(this.#restored.stream), failed]);
    if (Number.isInteger(Number(pid)) && Number(pid) > 0) return Number(pid);
    throw new RuntimeError("internal", `restore: CRIU has named the process "${pid}"`);
  }

  async letRun(answer: Promise<number>): Promise<void> {
    this.#resume.stream.write("run\n");
    await this.#explained(answer);
  }

  async #explained(answer: Promise<number>): Promise<number> {
    try {
      return await answer;
    } catch (cause) {
      throw await explainRestore(this.#restore.bundle, cause);
    }
  }

  async close(): Promise<void> {
    this.#restored.close();
    this.#resume.close();
    const { mounts, log } = this.#restore;
    try {
      await unmount(...mounts);
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
