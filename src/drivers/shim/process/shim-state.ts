import { readFile, writeFile } from "node:fs/promises";

import type { ProcessIdentity } from "../../../core/sandbox/index.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";

/** What a later daemon needs to reach or end a pod's shim. */
export interface ShimState {
  readonly program: string;
  readonly version: 2 | 3;
  readonly socketPath: string;
  /** Undefined when the shim does not report it. */
  readonly process: ProcessIdentity | undefined;
  /** It has made the pod's sandbox, and so runs as long as the sandbox. */
  readonly sandboxer: boolean;
}

/** Writes state for a later daemon. */
export async function writeState(path: string, state: object): Promise<void> {
  await writeFile(path, stateText(state), { mode: 0o600 });
}

/** The text that writeState() writes. */
export function stateText(state: object): string {
  return JSON.stringify(state);
}

/** Undefined when the file does not exist or is invalid. */
export async function readShimState(path: string): Promise<ShimState | undefined> {
  const fields = await readFields(path);
  const { program, version, socketPath, process, sandboxer } = fields ?? {};
  if (typeof program !== "string" || typeof socketPath !== "string") return undefined;
  if (version !== 2 && version !== 3) return undefined;
  return {
    program,
    version,
    socketPath,
    process: parseProcess(process),
    sandboxer: sandboxer === true,
  };
}

function parseProcess(value: unknown): ProcessIdentity | undefined {
  const { pid, startTime } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof pid !== "number" || typeof startTime !== "string") return undefined;
  return /^\d+$/.test(startTime) ? { pid, startTime } : undefined;
}

/** The fields of such a file; undefined when it does not exist or is incomplete. */
export async function readFields(
  path: string,
): Promise<Readonly<Record<string, unknown>> | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`read "${path}"`, cause);
  }
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    // Half-written: the daemon died meanwhile.
    return undefined;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
