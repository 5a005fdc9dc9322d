import { readFile } from "node:fs/promises";

import type { MessageInitShape } from "@bufbuild/protobuf";
import { isKind, RuntimeError } from "../../../base/errors.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import type { MountSchema } from "../../../gen/containerd/types/mount_pb.ts";
import { Status } from "../../../gen/containerd/v1/types/task_pb.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";
import { processStartTime } from "../../../linux/process/index.ts";
import type { TaskState } from "./task-state.ts";
import type { PodShim } from "../process/pod-shims.ts";

const stateMs = 2_000;

/** The state of a container whose bundle is lost: only its cgroup is known. */
export function lostState(cgroupPath: string): TaskState {
  const io = { logPath: undefined, terminal: false, streaming: false, stdin: false };
  return { sandboxId: "", cgroupPath, program: "", ociRuntime: "", ...io };
}

/** The process by pid and start time, which is 0 for one that has ended. */
export function identityOf(
  process: { readonly startTime: bigint } | undefined,
  pid: number,
): ProcessIdentity {
  const startTime = process?.startTime ?? processStartTime(pid) ?? 0n;
  return { pid, startTime: String(startTime) };
}

/**
 * Whether the task's command was started, by the shim's answer. False for a shim that does not answer
 * within 2 s.
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

/**
 * A shim's failure as the failure of a start. Its "not found" is about a file or a command; a client would
 * understand it as a missing container.
 */
export function startError(error: unknown): unknown {
  if (!(error instanceof RuntimeError)) return error;
  const kinds = ["not-found", "already-exists", "invalid-argument", "unimplemented"];
  if (!kinds.includes(error.kind)) return error;
  return new RuntimeError("unknown", error.message, { cause: error });
}

/** False when the shim is gone or does not answer. */
export async function responded(call: Promise<unknown> | undefined): Promise<boolean> {
  try {
    await call;
    return true;
  } catch (error) {
    return !isKind(error, "deadline-exceeded") && !isKind(error, "unavailable");
  }
}

/** " (process 123)" of a shim, for errors; empty if its process is not known. */
export function processText({ process }: Pick<PodShim, "process">): string {
  return process === undefined ? "" : ` (process ${process.pid})`;
}

/** The text of a file; undefined when it does not exist. */
export async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`read "${path}"`, cause);
  }
}

/**
 * The root filesystem as a mount, for a shim that made the sandbox: that may be a virtual machine, where the
 * spec's path does not exist. Other shims use the path of the spec.
 */
export function rootfsOf({
  handler,
  spec,
}: ContainerBundle): MessageInitShape<typeof MountSchema>[] {
  if (handler.controller !== "shim") return [];
  return [{ type: "bind", source: spec.root.path, options: ["rbind", "rw"] }];
}
