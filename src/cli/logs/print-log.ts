import type { LogLine } from "../../linux/file/index.ts";
import type { Terminal } from "../output/terminal.ts";

const newline = Buffer.from("\n");

/**
 * Prints log lines as the container wrote them: stdout to stdout, stderr to stderr, partial lines
 * joined, bytes unchanged.
 */
export class LogPrinter {
  readonly #terminal: Terminal;
  readonly #prefix: (line: LogLine) => string;
  /** The streams whose current line is incomplete. */
  readonly #open = new Set<LogLine["stream"]>();

  /** `prefix` precedes each line of output. */
  constructor(terminal: Terminal, prefix: (line: LogLine) => string) {
    this.#terminal = terminal;
    this.#prefix = prefix;
  }

  /** Prints a batch of lines with as few writes as their order allows. */
  print(lines: readonly LogLine[]): void {
    let chunks: Buffer[] = [];
    let stream: LogLine["stream"] = "stdout";
    const flush = (): void => {
      if (chunks.length === 0) return;
      const bytes = Buffer.concat(chunks);
      if (stream === "stdout") this.#terminal.out(bytes);
      else this.#terminal.err(bytes);
      chunks = [];
    };
    for (const line of lines) {
      if (line.stream !== stream) flush();
      stream = line.stream;
      const prefix = this.#open.has(stream) ? "" : this.#prefix(line);
      if (prefix !== "") chunks.push(Buffer.from(prefix));
      chunks.push(line.text);
      if (line.partial) this.#open.add(stream);
      else this.#open.delete(stream);
      if (!line.partial) chunks.push(newline);
    }
    flush();
  }
}
