import { readFile } from "node:fs/promises";

import { errnoCode, systemError } from "../../base/system-error.ts";
import type { FileStep } from "../../linux/file/index.ts";
import type { MonitorName } from "./container-monitor.ts";

/** What a later daemon needs to end a container and cannot derive from its id. */
export interface RuntimeState {
  readonly runtimePath: string;
  readonly cgroupPath: string;
  /** Undefined: conmon, also for a container of a davit that had no other monitor. */
  readonly monitor?: MonitorName | undefined;
  /** For a scope: the result of oomKillsOfGone() for its slice before the start. */
  readonly oomKillsBefore?: number;
}

/** The step that writes it; taken before anything of the container is started. */
export function runtimeStateFile(path: string, state: RuntimeState): FileStep {
  return { step: "write-file", path, mode: 0o600, text: JSON.stringify(state) };
}

/** Undefined when the file does not exist or is incomplete: then nothing was started. */
export async function readRuntimeState(path: string): Promise<RuntimeState | undefined> {
  try {
    return parseState(await readFile(path, "utf8"));
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`read "${path}"`, cause);
  }
}

function parseState(text: string): RuntimeState | undefined {
  try {
    const { runtimePath, cgroupPath, monitor, oomKillsBefore } = JSON.parse(text) as {
      readonly runtimePath?: unknown;
      readonly cgroupPath?: unknown;
      readonly monitor?: unknown;
      readonly oomKillsBefore?: unknown;
    };
    if (typeof runtimePath === "string" && typeof cgroupPath === "string") {
      const before = typeof oomKillsBefore === "number" ? { oomKillsBefore } : {};
      const by = monitor === "davit" ? { monitor: "davit" as const } : {};
      return { runtimePath, cgroupPath, ...by, ...before };
    }
  } catch {
    // Half-written: the daemon died meanwhile.
  }
  return undefined;
}
