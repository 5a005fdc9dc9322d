import { existsSync, readdirSync } from "node:fs";

import { messageOf } from "../../../../base/errors.ts";
import type { Logger } from "../../../../base/logger.ts";
import { Task } from "../../../../gen/containerd/task/v3/task_pb.ts";
import { type CgroupLayout, cgroupProcs } from "../../../../linux/cgroup/index.ts";
import { killProcessTree, SIGKILL } from "../../../../linux/process/index.ts";
import { removeFifos } from "../container-io.ts";
import type { StateLayout } from "../../process/state-layout.ts";
import type { PodShims } from "../../process/pod-shims.ts";

const askMs = 2_000;

/** The commands of ExecSync and Exec that ran in a container when a daemon died. */
export interface LostCommands {
  readonly execIds: readonly string[];
  /** Their fifos. */
  readonly paths: readonly string[];
}

/**
 * Finds them by their fifos, which a daemon removes when its command has ended. To be called before
 * this daemon runs a command itself.
 */
export function findLostCommands(paths: StateLayout, id: string): LostCommands {
  if (!existsSync(paths.task(id))) return { execIds: [], paths: [] };
  const found = readdirSync(paths.task(id)).flatMap((name) => {
    const execId = /^(exec-[0-9a-f]+)-(?:stdin|stdout|stderr)$/.exec(name)?.[1];
    return execId === undefined ? [] : [{ execId, path: paths.execFifo(id, name) }];
  });
  return {
    execIds: [...new Set(found.map(({ execId }) => execId))],
    paths: found.map(({ path }) => path),
  };
}

/** Ends them, as no client waits for them any more, and removes their fifos. Never rejects. */
export async function endLostCommands(
  deps: { readonly shims: PodShims; readonly cgroups: CgroupLayout; readonly log: Logger },
  task: { readonly id: string; readonly sandboxId: string; readonly cgroupPath: string },
  { execIds, paths }: LostCommands,
): Promise<void> {
  if (execIds.length === 0) return;
  const { id, sandboxId, cgroupPath } = task;
  try {
    const shim = await deps.shims.find(sandboxId);
    if (shim === undefined) return;
    const options = { timeoutMs: askMs };
    for (const execId of execIds) {
      try {
        const { pid } = await shim.task.call(Task.method.state, { id, execId }, options);
        // If the command has ended, its pid may have been reused.
        const candidates = await cgroupProcs(deps.cgroups, cgroupPath);
        if (pid > 0 && candidates.includes(pid)) killProcessTree(pid, { candidates });
        const signal = SIGKILL;
        const killed = shim.task.call(Task.method.kill, { id, execId, signal }, options);
        await killed.catch(() => undefined);
        await shim.task.call(Task.method.wait, { id, execId }, options);
        await shim.task.call(Task.method.delete, { id, execId }, options);
      } catch (error) {
        // Most have ended, or were never started.
        deps.log.debug(`failed to end command ${execId} of container "${id}": ${messageOf(error)}`);
      }
    }
    removeFifos(paths);
  } catch (error) {
    deps.log.warn(`failed to end commands of container "${id}": ${messageOf(error)}`, { error });
  }
}
