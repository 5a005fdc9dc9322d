import { describeWait, type ProcessWait, processWait } from "../process/process-wait.ts";

/** How many processes an error names. */
const shownProcesses = 3;
/** How many processes are examined for an error: there may be thousands. */
const examinedProcesses = 64;

/**
 * What processes do in the kernel, for an error about those that hang: those that `isCause` first, or all if it is
 * true for none. `shown` names some of them.
 */
export async function describeProcesses(
  pids: readonly number[],
  isCause: (wait: ProcessWait) => boolean,
): Promise<{ readonly waits: readonly ProcessWait[]; readonly shown: string }> {
  const examined = pids.slice(0, examinedProcesses).map((pid) => processWait(pid));
  const found = (await Promise.all(examined)).filter((wait) => wait !== undefined);
  const waits = found.toSorted((a, b) => Number(isCause(b)) - Number(isCause(a)));
  // A process without a description has just ended, or is hidden. Then name its pid.
  const named = waits.length > 0 ? waits.map(describeWait) : pids.map((pid) => `process ${pid}`);
  const shown = named.slice(0, shownProcesses).join("; ");
  const more = named.length > shownProcesses ? `; and ${named.length - shownProcesses} more` : "";
  return { waits, shown: `${shown}${more}` };
}
