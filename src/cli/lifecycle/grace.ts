import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import type { Terminal } from "../output/terminal.ts";

// Most containers exit immediately: a line about those would be outdated when it is read.
const delayMs = 1_000;

/**
 * Shows the grace period of containers that are being stopped: in a terminal, a live line for each with the
 * remaining seconds; otherwise, one line for each that takes longer than a second.
 */
export class GracePeriodLines implements Disposable {
  /** The live lines, for other output in between. */
  readonly lines: LiveLines;
  readonly #terminal: Terminal;
  readonly #quiet: boolean;

  constructor(
    terminal: Terminal,
    { lines, quiet = false }: { readonly lines?: LiveLines; readonly quiet?: boolean } = {},
  ) {
    this.#terminal = terminal;
    this.#quiet = quiet;
    this.lines = lines ?? new LiveLines(progressOutput(terminal, quiet));
  }

  /** Waits for `stop`, which stops a container with a grace period of so many seconds. */
  async during(name: string, seconds: number, stop: Promise<unknown>): Promise<void> {
    if (seconds === 0) {
      await stop;
      return;
    }
    const killedMs = performance.now() + seconds * 1000;
    using _line = this.lines.add((now) => [this.#line(name, now, killedMs)]);
    const timer = setTimeout(() => {
      if (this.lines.live || this.#quiet) return;
      this.lines.print(`${name}: waiting up to ${seconds} s for it to exit`);
    }, delayMs);
    try {
      await stop;
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    this.lines[Symbol.dispose]();
  }

  #line(name: string, nowMs: number, killedMs: number): string {
    const { dim } = this.#terminal.errStyle;
    const left = Math.ceil((killedMs - nowMs) / 1000);
    const what = left > 0 ? `waiting for it to exit, killed in ${left} s` : "killing it";
    return `${dim(spinnerAt(nowMs))} ${name}  ${what}`;
  }
}
