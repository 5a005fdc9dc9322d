import { symlink, writeFile } from "node:fs/promises";

import { toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeError, wrap } from "../../../base/errors.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import { runFileSteps } from "../../../linux/file/index.ts";
import { systemError } from "../../../base/system-error.ts";
import { ContainerIo } from "./container-io.ts";
import { stateText } from "../process/shim-state.ts";
import { type TaskState } from "./task-state.ts";
import { encodeOptions, isRuncType } from "../process/options.ts";
import type { StateLayout } from "../process/state-layout.ts";

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
        { ...file, path: paths.taskFile(id, "config.json"), text: spec },
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
