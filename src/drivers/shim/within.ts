import { setTimeout as delay } from "node:timers/promises";

/** True when the promise settled in time; false when it did not, or was rejected. */
export async function within(promise: Promise<unknown>, timeoutMs: number): Promise<boolean> {
  const timer = new AbortController();
  const late = delay(timeoutMs, false, { signal: timer.signal, ref: false }).catch(() => false);
  const done = await Promise.race([
    promise.then(
      () => true,
      () => false,
    ),
    late,
  ]);
  timer.abort();
  return done;
}
