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

/** Waits for `promise`, but no longer than until `signal` is aborted; then rejects with its reason. */
export async function beforeAbort<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  if (signal.aborted) {
    promise.catch(() => undefined);
    throw signal.reason;
  }
  const { promise: aborted, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => {
    reject(signal.reason);
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener("abort", onAbort);
    promise.catch(() => undefined);
  }
}
