import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { basename, join } from "node:path";

import { RuntimeError } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { systemError } from "../../../base/system-error.ts";
import type { ContainerBundle, RestoreSource } from "../../../core/container/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import { removeTree } from "../../../linux/file/index.ts";
import { unmount } from "../../../linux/mount/index.ts";
import { environmentOf, findProgram } from "../../../linux/process/index.ts";
import { type HandlerOptions, runtimeOfOptions } from "../process/options.ts";
import type { PodShim } from "../process/pod-shims.ts";
import { criuConfigVariable, namespace } from "../process/shim-binary.ts";
import type { StateLayout } from "../process/state-layout.ts";

/** A restore that a shim can begin; see `PreparedRestore` of the OCI runtimes' driver. */
export interface TaskRestore {
  readonly monitor: { readonly images: string };
  created(answer: Promise<unknown>, signal: AbortSignal): Promise<number>;
  letRun(answer: Promise<unknown>): Promise<void>;
  end(): Promise<void>;
  close(): Promise<void>;
}

/** Prepares a restore by a program that runs `restore` of the OCI runtime; see `RestorePlan` there. */
export type PrepareRestore = (
  plan: {
    readonly id: string;
    readonly spec: OciSpec;
    readonly cgroupPath: string;
    readonly restore: RestoreSource;
    readonly runtimePath: string;
    readonly directory: string;
    readonly work: string;
    readonly config: string;
    readonly mounts: readonly [string, ...string[]];
    readonly log: Logger;
  },
  signal: AbortSignal,
) => Promise<TaskRestore>;

/**
 * The annotation by which runc finds a configuration of CRIU that counts more than its own options. NOTE(criu): it reads
 * this one twice (cr-service.c, setup_opts_from_req), so that a script in it would run twice.
 */
const annotation = "org.criu.config";
/** What the shim does not tell runc, which then tells CRIU the opposite. */
const runcOptions = "ext-unix-sk\nfile-locks\n";
const fileName = "runc.conf";

/**
 * Why a shim with these options cannot restore containers; undefined where it can.
 *
 * NOTE(containerd): the shim calls `restore` with -no-subreaper, which crun 1.21 does not know.
 */
export function obstacleToRestores(options: HandlerOptions): string | undefined {
  const runtime = basename(runtimeOfOptions(options));
  if (runtime !== "runc") return `and that shim restores by runc only, not by "${runtime}"`;
  const elsewhere = ["Root", "CriuWorkPath"].find((name) => options[name] !== undefined);
  if (elsewhere === undefined) return undefined;
  return `with the option ${elsewhere}, so that a later davit would not find what a restore has left there`;
}

/** The bundle of a container with what its restore needs in the spec. */
export function withRestoreSpec(paths: StateLayout, bundle: ContainerBundle): ContainerBundle {
  if (bundle.restore === undefined) return bundle;
  const { id, spec } = bundle;
  const file = join(paths.taskFile(id, "restore"), fileName);
  return { ...bundle, spec: { ...spec, annotations: { ...spec.annotations, [annotation]: file } } };
}

/**
 * Prepares the restore of a task, by Start of its shim. `failed-precondition` for a shim that does not give its OCI runtime
 * CRIU's configuration, as one of an earlier davit: the processes would not wait until davit has checked them.
 */
export async function prepareTaskRestore(
  deps: {
    readonly paths: StateLayout;
    readonly log: Logger;
    readonly prepareRestore: PrepareRestore;
  },
  task: {
    readonly bundle: ContainerBundle;
    readonly restore: RestoreSource;
    readonly shim: PodShim;
  },
  signal: AbortSignal,
): Promise<TaskRestore> {
  const { paths, log } = deps;
  const { bundle, restore, shim } = task;
  const { id, sandboxId, spec, cgroupPath, handler } = bundle;
  const config = paths.podFile(sandboxId, "criu.conf");
  const pid = shim.process?.pid;
  const given = pid === undefined ? undefined : await environmentOf(pid, criuConfigVariable);
  if (given !== config) {
    const text = `restore container "${id}": the shim of its pod was started without CRIU's configuration, and would let the processes run before davit has checked them; restore it in a new pod`;
    throw new RuntimeError("failed-precondition", text);
  }
  const name = runtimeOfOptions(handler.options ?? {});
  const directory = paths.taskFile(id, "restore");
  const plan = {
    ...{ id, spec, cgroupPath, restore, directory, config, log },
    runtimePath: findProgram(name, process.env["PATH"] ?? "") ?? name,
    work: paths.work(id),
    mounts: restoreMounts(paths, id),
  };
  const prepared = await deps.prepareRestore(plan, signal);
  try {
    await writeFile(join(directory, fileName), runcOptions, { mode: 0o600 });
    return prepared;
  } catch (cause) {
    await prepared.close();
    throw systemError(`write runc's configuration of CRIU for container "${id}"`, cause);
  }
}

/** Whether a task is or was restored. */
export function isRestored(paths: StateLayout, id: string): boolean {
  return existsSync(paths.taskFile(id, "restore"));
}

/**
 * Unmounts what a restore that was interrupted has left. Idempotent. NOTE(runc): its `delete --force` removes its directory
 * of the container with all that is mounted there, which would be the files of the container.
 */
export async function unmountRestore(paths: StateLayout, id: string): Promise<void> {
  await unmount(...restoreMounts(paths, id));
}

/**
 * Removes what a restore that was interrupted has left outside of the task's own directories. Idempotent. runc does not
 * know a container whose restore it has not completed, and does not delete it.
 */
export async function removeRestore(paths: StateLayout, id: string): Promise<void> {
  if (!isRestored(paths, id)) return;
  await unmountRestore(paths, id);
  await removeTree(join(paths.runtimeRoot, namespace, id));
}

/** What is mounted only while a container is restored: its images, and its root by runc. */
function restoreMounts(paths: StateLayout, id: string): readonly [string, string] {
  return [
    join(paths.taskFile(id, "restore"), "images"),
    join(paths.runtimeRoot, namespace, id, "criu-root"),
  ];
}
