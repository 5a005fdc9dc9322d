import process from "node:process";
import { isatty } from "node:tty";

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

/** What onStopSignals does besides. */
export interface StopSignalOptions {
  /** What SIGHUP means to a daemon, which has no terminal, or one that is still there. */
  readonly onReload?: () => void;
  /** The clock, for tests. */
  readonly nowMs?: () => number;
}

/**
 * From now on the first signal only asks; `again` is called by each that comes later than what one
 * press of a key can cause.
 */
export function onStopSignals(
  again: (signal: StopSignal) => void,
  { onReload, nowMs = () => performance.now() }: StopSignalOptions = {},
): StopSignals {
  const terminals = [0, 1, 2].filter((descriptor) => isatty(descriptor));
  const names: readonly StopSignal[] = ["SIGTERM", "SIGINT", "SIGHUP"];
  const { promise, resolve } = Promise.withResolvers<StopSignal>();
  const controller = new AbortController();
  let firstMs: number | undefined;
  const listener = (name: StopSignal): void => {
    // A terminal that was closed is none any more: each call on it fails (tty_hangup(9)).
    const isTerminalGone = terminals.some((descriptor) => !isatty(descriptor));
    if (name === "SIGHUP" && onReload !== undefined && !isTerminalGone) {
      onReload();
      return;
    }
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
