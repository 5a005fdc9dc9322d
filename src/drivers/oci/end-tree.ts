import { within } from "../../base/wait.ts";
import { killProcessTree } from "../../linux/process/index.ts";
import type { WatchedProcess } from "./container-end.ts";

/** How long a parent may take to reap its children and end. */
const reapMs = 200;

/**
 * Ends a process and its descendants: first the descendants, so that it reaps them and ends by
 * itself, then the process. A child that nobody reaps is adopted by the machine's PID 1, and until PID 1 reaps
 * it, the first process of the child's PID namespace cannot end (pid_namespaces(7)).
 *
 * Resolves to true when the process has ended, to false `timeoutMs` later.
 */
export async function endTree(
  process: WatchedProcess,
  timeoutMs: number,
  candidates: readonly number[] = [],
): Promise<boolean> {
  // When this is false, the process is not reaped, and its pid is not used by another before the next wait.
  if (await within(process.exited, 0)) return true;
  killProcessTree(process.pid, { candidates, spareRoot: true });
  if (await within(process.exited, reapMs)) return true;
  killProcessTree(process.pid, { candidates });
  return within(process.exited, timeoutMs);
}
