import { symlink, writeFile } from "node:fs/promises";

import { toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeError, wrap } from "../../../base/errors.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import { specText } from "../../../oci-spec/index.ts";
import { Task } from "../../../gen/containerd/task/v3/task_pb.ts";
import { runFileSteps } from "../../../linux/file/index.ts";
import { systemError } from "../../../base/system-error.ts";
import { ContainerIo } from "./container-io.ts";
import { stateText } from "../process/shim-state.ts";
import type { TaskState } from "./task-state.ts";
import { encodeOptions, isRuncType } from "../process/options.ts";
import type { PodShim } from "../process/pod-shims.ts";
import type { StateLayout } from "../process/state-layout.ts";
import { rootfsOf } from "./shim-answers.ts";

/** Writes the files of a container that a shim and a later daemon read; its directory must exist. */
export async function writeBundle(
  paths: StateLayout,
  { id, spec }: ContainerBundle,
  state: TaskState,
  options: Any,
): Promise<void> {
  const optionBytes = toBinary(AnySchema, options);
  try {
    const file = { step: "write-file", mode: 0o600 } as const;
    await Promise.all([
      runFileSteps([
        { step: "make-directory", path: paths.work(id), mode: 0o700 },
        { ...file, path: paths.taskFile(id, "facts.json"), text: stateText(state) },
        { ...file, path: paths.taskFile(id, "config.json"), text: specText(spec) },
      ]),
      writeFile(paths.taskFile(id, "options.pb"), optionBytes, { mode: 0o600 }),
      symlink(paths.work(id), paths.taskFile(id, "work")),
    ]);
    ContainerIo.make(paths, id, state);
  } catch (cause) {
    const doing = `write bundle of container "${id}"`;
    throw cause instanceof RuntimeError ? wrap(doing, cause) : systemError(doing, cause);
  }
}

/** The handler's options; its OCI runtime must know whether the cgroup is systemd's. */
export function taskOptions({ handler, cgroupPath }: ContainerBundle, runtimeRoot: string): Any {
  const { runtimeType = "", options = {} } = handler;
  const driver = isRuncType(runtimeType) ? { SystemdCgroup: isScope(cgroupPath) } : {};
  return encodeOptions(runtimeType, { ...options, ...driver }, runtimeRoot);
}

/**
 * Has the shim create the task, which is then ready to start. Returns the pid of its process, as the shim reports it; 0
 * for one that is to be restored.
 */
export async function createTask(
  paths: StateLayout,
  shim: PodShim,
  task: {
    readonly bundle: ContainerBundle;
    readonly state: TaskState;
    readonly options: Any;
    /** The directory of images that its start restores it from; empty for none. */
    readonly checkpoint: string;
  },
  signal: AbortSignal,
): Promise<number> {
  const { bundle, state, options, checkpoint } = task;
  const { id, terminal } = bundle;
  const fifos = ContainerIo.pathsFor(shim, paths, id, state);
  const request = { id, bundle: paths.task(id), terminal, ...fifos, options, checkpoint };
  const { pid } = await shim.task.call(
    Task.method.create,
    { ...request, rootfs: rootfsOf(bundle) },
    { signal, timeoutMs: 0 },
  );
  return pid;
}
