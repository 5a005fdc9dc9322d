import { symlink, writeFile } from "node:fs/promises";

import { toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { RuntimeError, wrap } from "../../../base/errors.ts";
import type { ContainerBundle } from "../../../core/container/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import { specText } from "../../../oci-spec/index.ts";
import { runFileSteps } from "../../../linux/file/index.ts";
import { systemError } from "../../../base/system-error.ts";
import { ContainerIo } from "./container-io.ts";
import { stateText } from "../process/shim-state.ts";
import { type TaskState } from "./task-state.ts";
import { encodeOptions, isRuncType } from "../process/options.ts";
import type { StateLayout } from "../process/state-layout.ts";

/** Writes what a shim and a later daemon read of a container; its directory is there. */
export async function writeBundle(
  at: StateLayout,
  { id, spec }: ContainerBundle,
  facts: TaskState,
  options: Any,
): Promise<void> {
  const optionBytes = toBinary(AnySchema, options);
  try {
    const mine = { step: "write-file", mode: 0o600 } as const;
    await Promise.all([
      runFileSteps([
        { step: "make-directory", path: at.work(id), mode: 0o700 },
        { ...mine, path: at.taskFile(id, "facts.json"), text: stateText(facts) },
        { ...mine, path: at.taskFile(id, "config.json"), text: specText(spec) },
      ]),
      // Bytes, which are no text.
      writeFile(at.taskFile(id, "options.pb"), optionBytes, { mode: 0o600 }),
      symlink(at.work(id), at.taskFile(id, "work")),
    ]);
    ContainerIo.make(at, id, facts);
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
