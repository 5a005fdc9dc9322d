import { create } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import type { PodShim } from "../process/pod-shims.ts";
import { startError } from "./shim-answers.ts";

const resourcesType = "types.containerd.io/opencontainers/runtime-spec/1/LinuxResources";

/** Has the shim write limits of a task: LinuxResources as JSON text. */
export async function updateTask(
  shim: PodShim,
  id: string,
  text: string,
  signal: AbortSignal,
): Promise<void> {
  const resources = create(AnySchema, { typeUrl: resourcesType, value: Buffer.from(text) });
  try {
    await shim.task.call(Task.method.update, { id, resources }, { signal });
  } catch (error) {
    throw startError(error);
  }
}
