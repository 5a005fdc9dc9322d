import process from "node:process";

/** The signals that ask davit to end: a service manager's, Ctrl-C, and a terminal that closed. */
export type StopSignal = "SIGTERM" | "SIGINT" | "SIGHUP";

/** What onStopSignals gives. Disposing it puts the signals' default effect back. */
export interface StopSignals extends Disposable {
  /** Becomes done with the first signal. */
  readonly stopped: Promise<StopSignal>;
  /** Aborted by the first signal: for work that should not be finished then. */
  readonly signal: AbortSignal;
}

// npm passes on a Ctrl-C that the terminal has sent to davit as well: one key, two signals.
const SAME_KEY_MS = 500;

/**
 * From now on the first signal only asks; `again` is called by each that comes later than what one
 * press of a key can cause. `nowMs` is the clock, for tests.
 */
export function onStopSignals(
  again: (signal: StopSignal) => void,
  nowMs: () => number = () => performance.now(),
): StopSignals {
  const names: readonly StopSignal[] = ["SIGTERM", "SIGINT", "SIGHUP"];
  const { promise, resolve } = Promise.withResolvers<StopSignal>();
  const controller = new AbortController();
  let firstMs: number | undefined;
  const listener = (name: StopSignal): void => {
    if (firstMs !== undefined) {
      if (nowMs() - firstMs > SAME_KEY_MS) again(name);
      return;
    }
    firstMs = nowMs();
    controller.abort();
    resolve(name);
  };
  for (const name of names) process.on(name, listener);
  return {
    stopped: promise,
    signal: controller.signal,
    [Symbol.dispose]: () => {
      for (const name of names) process.off(name, listener);
    },
  };
}
