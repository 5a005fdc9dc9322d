import { readFile } from "node:fs/promises";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { isKind, kindOf, RuntimeError } from "../../../base/errors.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import type { MountSchema } from "../../../gen/containerd/types/mount_pb.ts";
import { Status } from "../../../gen/containerd/v1/types/task_pb.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";
import { processStartTime } from "../../../linux/process/index.ts";
import type { TaskState } from "./task-state.ts";
import type { PodShim } from "../process/pod-shims.ts";
import type { Tracked } from "./running-task.ts";
import { within } from "../../../base/wait.ts";

/** A container that ends takes its commands along, and these may be seen to end before it. */
const execEndMs = 100;
const stateMs = 2_000;

/** A container whose bundle is lost: only its cgroup is known. */
export function lostFacts(cgroupPath: string): TaskState {
  const io = { logPath: undefined, terminal: false, stdin: false };
  return { sandboxId: "", cgroupPath, program: "", ...io };
}

/** The process by pid and start time; of one that has ended, the pid alone. */
export function identityOf(
  process: { readonly startTime: bigint } | undefined,
  pid: number,
): ProcessIdentity {
  const startTime = process?.startTime ?? processStartTime(pid) ?? 0n;
  return { pid, startTime: String(startTime) };
}

/**
 * Whether the task's command was started, going by what the shim says. Of one that does not say it
 * within 2 s it is not known: false, as if it was not.
 */
export async function hasRun(shim: PodShim, id: string): Promise<boolean> {
  try {
    const { status } = await shim.task.call(Task.method.state, { id }, { timeoutMs: stateMs });
    return status !== Status.UNKNOWN && status !== Status.CREATED;
  } catch (error) {
    if (isKind(error, "not-found") || isKind(error, "deadline-exceeded")) return false;
    throw error;
  }
}

/** A shim whose container is killed finds its cgroup, namespaces or command gone, and says so in its way. */
export async function explainEnd<T>(
  kept: Tracked,
  doing: string,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (kindOf(cause) !== "unknown") throw cause;
    const ended = kept.killed || (await within(kept.process?.exited ?? kept.exit, execEndMs));
    if (!ended) throw cause;
    const text = `${doing}: the container has ended meanwhile`;
    throw new RuntimeError("failed-precondition", text, { cause });
  }
}

/**
 * A shim's failure as one of a start. Its "not found" is about a file or a command; to a client it
 * would mean that the container is gone.
 */
export function startError(error: unknown): unknown {
  if (!(error instanceof RuntimeError)) return error;
  const about = ["not-found", "already-exists", "invalid-argument", "unimplemented"];
  if (!about.includes(error.kind)) return error;
  return new RuntimeError("unknown", error.message, { cause: error });
}

/** False when the shim is gone or does not answer. */
export async function responded(asked: Promise<unknown> | undefined): Promise<boolean> {
  try {
    await asked;
    return true;
  } catch (error) {
    return !isKind(error, "deadline-exceeded") && !isKind(error, "unavailable");
  }
}

/** What a file says; undefined when it is not there. */
export async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`read "${path}"`, cause);
  }
}

/**
 * The root as a mount, for a shim that made the sandbox: it may be in a virtual machine, where the
 * spec's path names nothing. Other shims take it from the spec.
 */
export function rootfsOf({
  handler,
  spec,
}: ContainerBundle): MessageInitShape<typeof MountSchema>[] {
  if (handler.controller !== "shim") return [];
  return [{ type: "bind", source: spec.root.path, options: ["rbind", "rw"] }];
}
