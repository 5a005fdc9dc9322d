import { stripVTControlCharacters } from "node:util";

/** A stream that may be a terminal. */
export interface LineOutput {
  readonly write: (text: string) => void;
  /** Whether lines can be redrawn. */
  readonly live: boolean;
  /** The number of columns of the terminal. */
  readonly columns: () => number;
}

/** Renders the lines of a task at this time. */
type DrawLines = (nowMs: number) => readonly string[];

const frameMs = 100;
const spinner = ["\u280b", "\u2819", "\u2839", "\u2838", "\u283c", "\u2834", "\u2826", "\u2827"];

/** The spinner at this time. */
export function spinnerAt(nowMs: number): string {
  return spinner[Math.floor(nowMs / frameMs) % spinner.length] ?? "";
}

/**
 * Live lines at the end of a terminal, which are redrawn ten times a second, and permanent lines above them.
 * If the output is not a terminal, there are only permanent lines.
 */
export class LiveLines implements Disposable {
  readonly #out: LineOutput;
  readonly #nowMs: () => number;
  readonly #blocks = new Set<{ readonly draw: DrawLines }>();
  #timer: NodeJS.Timeout | undefined;
  /** The number of lines of the last frame. */
  #drawn = 0;

  constructor(out: LineOutput, nowMs: () => number = () => performance.now()) {
    this.#out = out;
    this.#nowMs = nowMs;
  }

  /** Whether live lines are shown. */
  get live(): boolean {
    return this.#out.live;
  }

  /** Adds live lines below the others; disposing removes them. */
  add(draw: DrawLines): Disposable {
    const block = { draw };
    this.#blocks.add(block);
    this.#schedule();
    return {
      [Symbol.dispose]: () => {
        if (this.#blocks.delete(block)) this.#draw("");
      },
    };
  }

  /** Prints a permanent line above the live lines. */
  print(text: string): void {
    this.#draw(`${text}\n`);
  }

  /** Calls `write`, which prints lines to another stream of the same terminal, above the live lines. */
  above(write: () => void): void {
    const erase = this.#erase();
    this.#drawn = 0;
    if (erase !== "") this.#out.write(erase);
    write();
    this.#draw("");
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#blocks.clear();
    this.#draw("");
  }

  #schedule(): void {
    if (!this.#out.live || this.#timer !== undefined) return;
    this.#timer = setInterval(() => this.#draw(""), frameMs);
    this.#timer.unref();
    this.#draw("");
  }

  /** The sequence that erases the last frame. ECMA-48: CUU moves up, ED erases everything below. */
  #erase(): string {
    return this.#drawn === 0 ? "" : `\r\u001b[${this.#drawn}A\u001b[J`;
  }

  /** One write for each frame, so that it does not flicker. */
  #draw(above: string): void {
    if (!this.#out.live) {
      if (above !== "") this.#out.write(above);
      return;
    }
    const erase = this.#erase();
    const now = this.#nowMs();
    const columns = this.#out.columns();
    const lines = [...this.#blocks]
      .flatMap(({ draw }) => draw(now))
      .map((line) => truncate(line, columns));
    this.#drawn = lines.length;
    const text = erase + above + lines.map((line) => `${line}\n`).join("");
    if (text !== "") this.#out.write(text);
  }
}

/** Truncates a line, since a wrapped line would take two rows. A truncated line loses its colors. */
function truncate(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line);
  return plain.length < columns ? line : plain.slice(0, Math.max(0, columns - 1));
}
