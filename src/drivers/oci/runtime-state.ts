import { readFile } from "node:fs/promises";

import { errnoCode, systemError } from "../../base/system-error.ts";
import { type FileStep } from "../../linux/file/index.ts";

/** What a later daemon must know of a container to end it, and cannot tell from its id. */
export interface RuntimeState {
  readonly runtimePath: string;
  readonly cgroupPath: string;
  /** Of a scope: what oomKillsOfGone() said of its slice before the start. */
  readonly oomKillsBefore?: number;
}

/** Written before anything of the container is started. */
export function runtimeStateFile(path: string, facts: RuntimeState): FileStep {
  return { step: "write-file", path, mode: 0o600, text: JSON.stringify(facts) };
}

/** Undefined when there are none, or none that can be read: then nothing was started. */
export async function readRuntimeState(path: string): Promise<RuntimeState | undefined> {
  try {
    return parseFacts(await readFile(path, "utf8"));
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`read "${path}"`, cause);
  }
}

function parseFacts(text: string): RuntimeState | undefined {
  try {
    const { runtimePath, cgroupPath, oomKillsBefore } = JSON.parse(text) as {
      readonly runtimePath?: unknown;
      readonly cgroupPath?: unknown;
      readonly oomKillsBefore?: unknown;
    };
    if (typeof runtimePath === "string" && typeof cgroupPath === "string") {
      const before = typeof oomKillsBefore === "number" ? { oomKillsBefore } : {};
      return { runtimePath, cgroupPath, ...before };
    }
  } catch {
    // Half-written: the daemon died at it.
  }
  return undefined;
}
