import type { FileHandle } from "node:fs/promises";

import { wrap } from "../../base/errors.ts";
import type { ContainerBundle } from "../../core/container/index.ts";
import { specText } from "../../oci-spec/index.ts";
import { runFileSteps } from "../../linux/file/index.ts";
import { type RuntimeState, runtimeStateFile } from "./runtime-state.ts";
import { openLog, startLink } from "./conmon/log-links.ts";
import type { StateLayout } from "./state-layout.ts";

/**
 * Writes the files of a container that starts, and meanwhile opens its log, which is the caller's to close;
 * undefined where it has none.
 */
export async function writeBundle(
  places: StateLayout,
  start: {
    readonly bundle: ContainerBundle;
    readonly facts: RuntimeState;
    /** See LogDirectoryOptions. */
    readonly logRoots: readonly string[];
  },
  signal: AbortSignal,
): Promise<FileHandle | undefined> {
  const { id, logPath, spec } = start.bundle;
  const opening = logPath === undefined ? undefined : openLog(logPath, start.logRoots, signal);
  opening?.catch(() => undefined);
  try {
    const config = places.file(id, "config.json");
    await runFileSteps([
      runtimeStateFile(places.file(id, "facts.json"), start.facts),
      { step: "write-file", path: config, mode: 0o600, text: specText(spec) },
      ...(logPath === undefined ? [] : [startLink(places, id)]),
    ]);
  } catch (cause) {
    void opening?.then((file) => file.close()).catch(() => undefined);
    throw wrap(`write bundle of container "${id}"`, cause);
  }
  return await opening;
}
