import { setTimeout as delay } from "node:timers/promises";

import { openFiles } from "../open-files.ts";

/** The result of a wait for conmon. */
export type WaitResult = "done" | "ended" | "late";

/** Polls until `isDone`, conmon has ended, or the time is over. */
export async function waitForMonitor(
  pid: number,
  isDone: () => boolean | Promise<boolean>,
  timeoutMs: number,
): Promise<WaitResult> {
  const deadline = performance.now() + timeoutMs;
  for (let waitMs = 1; ; waitMs = Math.min(waitMs * 2, 50)) {
    const hasEnded = (await openFiles(pid)) === undefined;
    // Checked last: it may have been done just before the end.
    if (await isDone()) return "done";
    if (hasEnded) return "ended";
    if (performance.now() > deadline) return "late";
    await delay(waitMs);
  }
}
