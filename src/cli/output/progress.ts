import { formatDuration } from "./figures.ts";
import type { Terminal } from "./terminal.ts";

const TITLE_WIDTH = 48;
const TICK = "\u2713";
const CROSS = "\u2717";
const ELLIPSIS = "\u2026";

/** Shows work as a list of steps, each a line with a tick and the time it took. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #nowMs: () => number;

  constructor(terminal: Terminal, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#nowMs = nowMs;
  }

  /**
   * Does `work` and shows its line; what `tell` makes of the result stands behind the time. A
   * failure gets a cross, and is thrown on: who called it says why.
   */
  async step<T>(
    title: string,
    work: () => T | Promise<T>,
    tell: (result: T) => string = () => "",
  ): Promise<T> {
    const lines = new StepLines(this.#terminal, this.#nowMs);
    lines.begin(title);
    try {
      const result = await work();
      lines.end(true, tell(result));
      return result;
    } catch (error) {
      lines.end(false);
      throw error;
    }
  }
}

/** Steps that follow one another: each ends when the next one begins. */
export class StepLines {
  readonly #terminal: Terminal;
  readonly #nowMs: () => number;
  #open: { readonly title: string; readonly begunMs: number } | undefined;

  constructor(terminal: Terminal, nowMs: () => number = () => performance.now()) {
    this.#terminal = terminal;
    this.#nowMs = nowMs;
  }

  /** The step before this one is done, and this one begins. */
  begin(title: string): void {
    this.end(true);
    const { style, live } = this.#terminal;
    if (live) this.#terminal.out(`  ${style.dim(ELLIPSIS)} ${title}`);
    this.#open = { title, begunMs: this.#nowMs() };
  }

  /** The last step is over; `told` stands behind its time. Nothing when none is under way. */
  end(done: boolean, told = ""): void {
    if (this.#open === undefined) return;
    const { title, begunMs } = this.#open;
    this.#open = undefined;
    const { style, live } = this.#terminal;
    const time = formatDuration(this.#nowMs() - begunMs).padStart(8);
    const mark = done ? style.green(TICK) : style.red(CROSS);
    const rest = told === "" ? "" : `  ${told}`;
    // Carriage return, erase line (ECMA-48 EL): the waiting line makes room for the done one.
    const back = live ? "\r\u001b[2K" : "";
    this.#terminal.out(`${back}  ${mark} ${title.padEnd(TITLE_WIDTH)} ${style.dim(time)}${rest}\n`);
  }
}
