import type { LogLine } from "../../linux/file/index.ts";

// A longer line is printed in pieces: its length depends on the container.
const maxBytes = 1024 * 1024;

/** Joins partial lines, so that lines of several logs can be printed one after another. */
export class LineJoiner {
  readonly #open = new Map<LogLine["stream"], LogLine[]>();

  /** The whole lines that these lines complete. */
  push(lines: readonly LogLine[]): readonly LogLine[] {
    return lines.flatMap((line) => {
      const parts = [...(this.#open.get(line.stream) ?? []), line];
      const bytes = parts.reduce((sum, { text }) => sum + text.length, 0);
      if (line.partial && bytes < maxBytes) {
        this.#open.set(line.stream, parts);
        return [];
      }
      this.#open.delete(line.stream);
      return [join(parts)];
    });
  }

  /** The lines that the log does not complete. */
  end(): readonly LogLine[] {
    const left = [...this.#open.values()].map(join);
    this.#open.clear();
    return left;
  }
}

function join(parts: readonly LogLine[]): LogLine {
  const [first] = parts;
  if (first === undefined) throw new TypeError("a line has no parts");
  return { ...first, partial: false, text: Buffer.concat(parts.map(({ text }) => text)) };
}
