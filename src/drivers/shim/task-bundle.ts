import { mkdir, symlink, writeFile } from "node:fs/promises";

import { toBinary } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import type { ContainerBundle } from "../../core/container/index.ts";
import { isScope } from "../../core/sandbox/index.ts";
import { systemError } from "../../linux/index.ts";
import { ContainerIo } from "./container-io.ts";
import { type TaskFacts, writeFacts } from "./facts.ts";
import { encodeOptions, isRuncType } from "./options.ts";
import type { Places } from "./places.ts";

/** Writes what a shim and a later daemon read of a container; its folder is there. */
export async function writeBundle(
  at: Places,
  { id, spec }: ContainerBundle,
  facts: TaskFacts,
  options: Any,
): Promise<void> {
  const optionBytes = toBinary(AnySchema, options);
  try {
    await mkdir(at.work(id), { mode: 0o700 });
    await Promise.all([
      writeFacts(at.taskFile(id, "facts.json"), facts),
      writeFile(at.taskFile(id, "config.json"), spec, { mode: 0o600 }),
      writeFile(at.taskFile(id, "options.pb"), optionBytes, { mode: 0o600 }),
      symlink(at.work(id), at.taskFile(id, "work")),
    ]);
    ContainerIo.make(at, id, facts);
  } catch (cause) {
    throw systemError(`write bundle of container "${id}"`, cause);
  }
}

/** The handler's options; its OCI runtime must know whether the cgroup is systemd's. */
export function taskOptions({ handler, cgroupPath }: ContainerBundle, runtimeRoot: string): Any {
  const { runtimeType = "", options = {} } = handler;
  const driver = isRuncType(runtimeType) ? { SystemdCgroup: isScope(cgroupPath) } : {};
  return encodeOptions(runtimeType, { ...options, ...driver }, runtimeRoot);
}
