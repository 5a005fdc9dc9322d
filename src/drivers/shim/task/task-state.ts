import type { ContainerBundle } from "../../../core/container/index.ts";
import { isRuncType, runtimeOfOptions } from "../process/options.ts";
import { readFields } from "../process/shim-state.ts";
import type { IoChoice } from "./container-io.ts";

/** What a later daemon needs to adopt a container or to end it. */
export interface TaskState extends IoChoice {
  readonly sandboxId: string;
  readonly cgroupPath: string;
  /** The shim's program: its `delete` is run when the shim is dead. */
  readonly program: string;
  /** The OCI runtime under runc's shim; empty for other shims, and where an earlier davit started the container. */
  readonly ociRuntime: string;
}

/** The state of a container that is to be started by `program`. */
export function newTaskState(bundle: ContainerBundle, program: string): TaskState {
  const { sandboxId, cgroupPath, logPath, terminal, stdin } = bundle;
  const streaming = bundle.handler.ioType === "streaming";
  const { runtimeType = "", options = {} } = bundle.handler;
  const ociRuntime = isRuncType(runtimeType) ? runtimeOfOptions(options) : "";
  return { sandboxId, cgroupPath, program, ociRuntime, logPath, terminal, stdin, streaming };
}

/** Undefined when the file does not exist or is incomplete: then nothing was started. */
export async function readTaskState(path: string): Promise<TaskState | undefined> {
  const fields = await readFields(path);
  const { sandboxId, cgroupPath, program, logPath, terminal, stdin, streaming } = fields ?? {};
  const { ociRuntime } = fields ?? {};
  if (
    typeof sandboxId !== "string" ||
    typeof cgroupPath !== "string" ||
    typeof program !== "string"
  ) {
    return undefined;
  }
  return {
    sandboxId,
    cgroupPath,
    program,
    ociRuntime: typeof ociRuntime === "string" ? ociRuntime : "",
    logPath: typeof logPath === "string" ? logPath : undefined,
    terminal: terminal === true,
    stdin: stdin === true,
    streaming: streaming === true,
  };
}
