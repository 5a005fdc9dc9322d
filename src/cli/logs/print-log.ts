import type { LogLine } from "../../linux/file/index.ts";
import type { Terminal } from "../output/terminal.ts";

const newline = Buffer.from("\n");

// A process that lives this long after the end of a partial line has ended that line itself.
const holdMs = 200;

/**
 * Prints log lines as the container wrote them: stdout to stdout, stderr to stderr, partial lines
 * joined, bytes unchanged.
 */
export class LogPrinter {
  readonly #terminal: Terminal;
  readonly #prefix: (line: LogLine) => string;
  /** The streams whose current line is incomplete. */
  readonly #open = new Set<LogLine["stream"]>();
  readonly #exact: boolean;
  /** The streams with a newline that is printed when more follows. */
  readonly #held = new Map<LogLine["stream"], NodeJS.Timeout>();

  /**
   * `prefix` precedes each line of output. With `exact`, the newline is not printed that the log adds to
   * output that ends without one.
   */
  constructor(
    terminal: Terminal,
    prefix: (line: LogLine) => string,
    { exact = false }: { readonly exact?: boolean } = {},
  ) {
    this.#terminal = terminal;
    this.#prefix = prefix;
    this.#exact = exact;
  }

  /** The log has ended: a newline that is held back was that of the log. */
  end(): void {
    for (const timer of this.#held.values()) clearTimeout(timer);
    this.#held.clear();
  }

  /** Prints a batch of lines with as few writes as their order allows. */
  print(lines: readonly LogLine[]): void {
    let chunks: Buffer[] = [];
    let stream: LogLine["stream"] = "stdout";
    const flush = (): void => {
      if (chunks.length === 0) return;
      const bytes = Buffer.concat(chunks);
      this.#write(stream, bytes);
      chunks = [];
    };
    for (const line of lines) {
      if (line.stream !== stream) flush();
      stream = line.stream;
      if (this.#unhold(stream)) chunks.push(newline);
      if (this.#isAdded(line)) {
        this.#open.delete(stream);
        this.#hold(stream);
        continue;
      }
      const prefix = this.#open.has(stream) ? "" : this.#prefix(line);
      if (prefix !== "") chunks.push(Buffer.from(prefix));
      chunks.push(line.text);
      if (line.partial) this.#open.add(stream);
      else this.#open.delete(stream);
      if (!line.partial) chunks.push(newline);
    }
    flush();
  }

  #write(stream: LogLine["stream"], bytes: Buffer): void {
    if (stream === "stdout") this.#terminal.out(bytes);
    else this.#terminal.err(bytes);
  }

  /**
   * Whether the newline may be that of the log. NOTE(conmon): at the end of a stream whose last line has no
   * newline, it writes an empty full line, as for a newline that comes alone.
   */
  #isAdded({ stream, partial, text }: LogLine): boolean {
    return this.#exact && this.#open.has(stream) && !partial && text.length === 0;
  }

  #hold(stream: LogLine["stream"]): void {
    const timer = setTimeout(() => {
      if (this.#unhold(stream)) this.#write(stream, newline);
    }, holdMs);
    this.#held.set(stream, timer);
  }

  #unhold(stream: LogLine["stream"]): boolean {
    clearTimeout(this.#held.get(stream));
    return this.#held.delete(stream);
  }
}
