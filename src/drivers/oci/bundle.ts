import { type FileHandle, readFile } from "node:fs/promises";

import { wrap } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { ContainerBundle } from "../../core/container/index.ts";
import { specText } from "../../oci-spec/index.ts";
import { runFileSteps } from "../../linux/file/index.ts";
import { openLogFile } from "../../stdio/cri-log.ts";
import { type RuntimeState, runtimeStateFile } from "./runtime-state.ts";
import type { StateLayout } from "./state-layout.ts";

/**
 * Writes the files of a container that starts, and opens its log at the same time. Returns the log, which the
 * caller closes; undefined for a container without one.
 */
export async function writeBundle(
  paths: StateLayout,
  start: {
    readonly bundle: ContainerBundle;
    readonly state: RuntimeState;
    /** See LogDirectoryOptions. */
    readonly logRoots: readonly string[];
  },
  signal: AbortSignal,
): Promise<FileHandle | undefined> {
  const { id, logPath, spec } = start.bundle;
  const opening = logPath === undefined ? undefined : openLog(logPath, start.logRoots, signal);
  opening?.catch(() => undefined);
  try {
    const config = paths.file(id, "config.json");
    await runFileSteps([
      runtimeStateFile(paths.file(id, "facts.json"), start.state),
      { step: "write-file", path: config, mode: 0o600, text: specText(spec) },
    ]);
  } catch (cause) {
    void opening?.then((file) => file.close()).catch(() => undefined);
    throw wrap(`write bundle of container "${id}"`, cause);
  }
  return await opening;
}

/** Opens the log of a container that starts; see {@link openLogFile}. */
async function openLog(
  logPath: string,
  linkedRoots: readonly string[],
  signal: AbortSignal,
): Promise<FileHandle> {
  const opening = openLogFile(logPath, linkedRoots);
  try {
    return await beforeAbort(opening, signal);
  } catch (error) {
    // A disk that hangs may answer later.
    void opening.then((file) => file.close()).catch(() => undefined);
    throw error;
  }
}

/** The spec in a container's bundle, as JSON text; undefined if there is no bundle. */
export async function readBundleSpec(paths: StateLayout, id: string): Promise<string | undefined> {
  const path = paths.file(id, "config.json");
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`read "${path}"`, cause);
  }
}
