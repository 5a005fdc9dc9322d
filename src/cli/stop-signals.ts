import process from "node:process";
import { isatty } from "node:tty";

/** The signals that stop davit: from a service manager, from Ctrl-C, and when the terminal closes. */
export type StopSignal = "SIGTERM" | "SIGINT" | "SIGHUP";

/** The state of the signals. Disposing it restores their default actions. */
interface StopSignals extends Disposable {
  /** Resolves with the first signal. */
  readonly stopped: Promise<StopSignal>;
  /** Aborted by the first signal. */
  readonly signal: AbortSignal;
  /** Calls `handler` for each signal instead, until the result is disposed of. */
  readonly capture: (handler: (signal: StopSignal) => void) => Disposable;
}

// npm forwards the SIGINT of a Ctrl-C that the terminal has also sent to davit: two signals for one key.
const SAME_KEY_MS = 500;

/** Options of onStopSignals. */
interface StopSignalOptions {
  /** Called on SIGHUP, unless it means that the terminal has closed. */
  readonly onReload?: () => void;
  /** The clock, for tests. */
  readonly nowMs?: () => number;
}

/**
 * Handles the stop signals from now on. The first one aborts `signal`; `again` is called for each further
 * one, except for a duplicate of the same key press.
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
  let captured: ((signal: StopSignal) => void) | undefined;
  let capturedMs = -Infinity;
  const listener = (name: StopSignal): void => {
    // After a hangup all calls on a terminal fail, so it no longer is one (tty_hangup(9)).
    const isTerminalGone = terminals.some((descriptor) => !isatty(descriptor));
    if (name === "SIGHUP" && onReload !== undefined && !isTerminalGone) {
      onReload();
      return;
    }
    if (captured !== undefined) {
      const isSameKey = nowMs() - capturedMs <= SAME_KEY_MS;
      capturedMs = nowMs();
      if (!isSameKey) captured(name);
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
    capture: (handler) => {
      captured = handler;
      return {
        [Symbol.dispose]: () => {
          captured = undefined;
        },
      };
    },
    [Symbol.dispose]: () => {
      for (const name of names) process.off(name, listener);
    },
  };
}
