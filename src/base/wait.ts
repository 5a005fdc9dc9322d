import { setTimeout as delay } from "node:timers/promises";

/**
 * The value of the promise, or undefined when it is not settled in time or before `signal` is aborted.
 * Rejects when the promise does so in time.
 */
export async function valueWithin<T>(
  promise: Promise<T>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<T | undefined> {
  const timer = new AbortController();
  const ends = signal === undefined ? timer.signal : AbortSignal.any([timer.signal, signal]);
  const timeout = delay(timeoutMs, undefined, { signal: ends }).catch(() => undefined);
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    timer.abort();
    promise.catch(() => undefined);
  }
}

/** True when the promise is fulfilled in time and before `signal` is aborted; false when it is not, or is rejected. */
export async function within(
  promise: Promise<unknown>,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const fulfilled = promise.then(
    () => true,
    () => false,
  );
  return (await valueWithin(fulfilled, timeoutMs, signal)) === true;
}

/** Waits for `promise` until `signal` is aborted, and then rejects with its reason. */
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
