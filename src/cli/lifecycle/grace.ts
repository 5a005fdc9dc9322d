import { LiveLines, spinnerAt } from "../output/live-lines.ts";
import { progressOutput } from "../output/progress-output.ts";
import type { Terminal } from "../output/terminal.ts";

// Most containers end at once: a line about those would only be read when it is no longer true.
const patienceMs = 1_000;

/**
 * Says that containers which are being stopped still have time to end by themselves: on a terminal a line
 * for each with the seconds that are left, elsewhere one line for what takes longer than a second.
 */
export class GraceLines implements Disposable {
  /** Where the lines are, for what else is printed meanwhile. */
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

  /** Waits for `stop`, of a container that may take so many seconds before it is killed. */
  async during(name: string, seconds: number, stop: Promise<unknown>): Promise<void> {
    if (seconds === 0) {
      await stop;
      return;
    }
    const killedMs = performance.now() + seconds * 1000;
    using _line = this.lines.add((now) => [this.#line(name, now, killedMs)]);
    const timer = setTimeout(() => {
      if (this.lines.live || this.#quiet) return;
      this.lines.print(`${name} has up to ${seconds} s to end by itself`);
    }, patienceMs);
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
    const what = left > 0 ? `has ${left} s to end by itself` : "is killed";
    return `${dim(spinnerAt(nowMs))} ${name}  ${what}`;
  }
}
