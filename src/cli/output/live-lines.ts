import { stripVTControlCharacters } from "node:util";

/** A stream that may be a terminal. */
export interface LineOutput {
  readonly write: (text: string) => void;
  /** True where lines can be taken back. */
  readonly live: boolean;
  /** Letters a line. */
  readonly columns: () => number;
}

/** Makes the lines of one thing that is being done, for the picture at this time. */
export type DrawLines = (nowMs: number) => readonly string[];

const pictureMs = 100;
const spinner = ["\u280b", "\u2819", "\u2839", "\u2838", "\u283c", "\u2834", "\u2826", "\u2827"];

/** The mark of what is being done, turning with the time. */
export function spinnerAt(nowMs: number): string {
  return spinner[Math.floor(nowMs / pictureMs) % spinner.length] ?? "";
}

/**
 * Lines at the end of a terminal that are drawn again ten times a second, and lines above them that
 * stay. Where the output is no terminal there are only the latter.
 */
export class LiveLines implements Disposable {
  readonly #out: LineOutput;
  readonly #nowMs: () => number;
  readonly #blocks = new Set<{ readonly draw: DrawLines }>();
  #timer: NodeJS.Timeout | undefined;
  /** How many lines of the last picture stand on the terminal. */
  #drawn = 0;

  constructor(out: LineOutput, nowMs: () => number = () => performance.now()) {
    this.#out = out;
    this.#nowMs = nowMs;
  }

  /** True where live lines are seen. */
  get live(): boolean {
    return this.#out.live;
  }

  /** Adds lines below the others; disposing takes them away. */
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

  /** Prints a line that stays, above those that change. */
  print(text: string): void {
    this.#draw(`${text}\n`);
  }

  /** Lets `write` print lines to another stream of the same terminal, above those that change. */
  above(write: () => void): void {
    const back = this.#back();
    this.#drawn = 0;
    if (back !== "") this.#out.write(back);
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
    this.#timer = setInterval(() => this.#draw(""), pictureMs);
    this.#timer.unref();
    this.#draw("");
  }

  /** What takes the last picture away. ECMA-48: CUU goes up, ED erases what is below. */
  #back(): string {
    return this.#drawn === 0 ? "" : `\r\u001b[${this.#drawn}A\u001b[J`;
  }

  /** One write a picture, so that it does not flicker. */
  #draw(above: string): void {
    if (!this.#out.live) {
      if (above !== "") this.#out.write(above);
      return;
    }
    const back = this.#back();
    const now = this.#nowMs();
    const columns = this.#out.columns();
    const lines = [...this.#blocks]
      .flatMap(({ draw }) => draw(now))
      .map((line) => cut(line, columns));
    this.#drawn = lines.length;
    const text = back + above + lines.map((line) => `${line}\n`).join("");
    if (text !== "") this.#out.write(text);
  }
}

/** A line that wraps would take two: going up would miss it. Its colours go when it is too long. */
function cut(line: string, columns: number): string {
  const plain = stripVTControlCharacters(line);
  return plain.length < columns ? line : plain.slice(0, Math.max(0, columns - 1));
}
