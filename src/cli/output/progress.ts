import { formatDuration } from "./figures.ts";
import type { Terminal } from "./terminal.ts";

const TITLE_WIDTH = 48;
const TICK = "\u2713";
const CROSS = "\u2717";
const ELLIPSIS = "\u2026";

/** Shows work as a list of steps: a line for each, with a check mark and its duration. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #nowMs: () => number;

  constructor(terminal: Terminal, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#nowMs = nowMs;
  }

  /**
   * Runs `work` and shows its line, with the text of `describe` after the duration. A
   * failure is marked with a cross and rethrown; the caller reports it.
   */
  async step<T>(
    title: string,
    work: () => T | Promise<T>,
    describe: (result: T) => string = () => "",
  ): Promise<T> {
    const lines = new StepLines(this.#terminal, this.#nowMs);
    lines.begin(title);
    try {
      const result = await work();
      lines.end(true, describe(result));
      return result;
    } catch (error) {
      lines.end(false);
      throw error;
    }
  }
}

/** Consecutive steps: each ends when the next one begins. */
export class StepLines {
  readonly #terminal: Terminal;
  readonly #nowMs: () => number;
  #current: { readonly title: string; readonly startedMs: number } | undefined;

  constructor(terminal: Terminal, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#nowMs = nowMs;
  }

  /** Ends the previous step successfully, and begins this one. */
  begin(title: string): void {
    this.end(true);
    const { style, live } = this.#terminal;
    if (live) this.#terminal.out(`  ${style.dim(ELLIPSIS)} ${title}`);
    this.#current = { title, startedMs: this.#nowMs() };
  }

  /** Ends the current step, if any; `result` is shown after its duration. */
  end(succeeded: boolean, result = ""): void {
    if (this.#current === undefined) return;
    const { title, startedMs } = this.#current;
    this.#current = undefined;
    const { style, live } = this.#terminal;
    const time = formatDuration(this.#nowMs() - startedMs).padStart(8);
    const mark = succeeded ? style.green(TICK) : style.red(CROSS);
    const suffix = result === "" ? "" : `  ${result}`;
    // Carriage return and EL (ECMA-48) erase the line of the running step.
    const erase = live ? "\r\u001b[2K" : "";
    this.#terminal.out(
      `${erase}  ${mark} ${title.padEnd(TITLE_WIDTH)} ${style.dim(time)}${suffix}\n`,
    );
  }
}
