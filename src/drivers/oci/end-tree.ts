import { killProcessTree } from "../../linux/process/index.ts";
import { type Watched, within } from "./container-end.ts";

/** How long a parent may take to notice that its children are gone. */
const reapMs = 200;

/**
 * Ends a process with all that descends from it: first the others, so that it reaps them and ends by
 * itself, then it, too. A child that nobody reaps falls to the machine's PID 1, and until that reaps
 * it, the first process of the child's PID namespace cannot end (pid_namespaces(7)).
 *
 * Resolves when the process has ended, or `timeoutMs` later to false.
 */
export async function endTree(
  process: Watched,
  timeoutMs: number,
  candidates: readonly number[] = [],
): Promise<boolean> {
  // When this is false, the process is not reaped, and no other can have its pid before the next wait.
  if (await within(process.exited, 0)) return true;
  killProcessTree(process.pid, { candidates, spareRoot: true });
  if (await within(process.exited, reapMs)) return true;
  killProcessTree(process.pid, { candidates });
  return within(process.exited, timeoutMs);
}
