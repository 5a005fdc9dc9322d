import { styleText } from "node:util";

/** What a command may do with words: mark what matters, or leave them as they are. */
export interface Style {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
}

/** Where a command speaks to the person (or the pipe) that started it. */
export interface Terminal {
  /** Writes to stdout: what the command was asked for. */
  out(text: string | Uint8Array): void;
  /** Writes to stderr: why it was not done, and what else a person should know. */
  err(text: string | Uint8Array): void;
  /** For `out`. */
  readonly style: Style;
  /** For `err`. */
  readonly errStyle: Style;
  /** True when stdout can take a line back, that is, when it is a terminal that is not dumb. */
  readonly live: boolean;
  /** The same for stderr, where progress is shown: pipes of stdout do not get it. */
  readonly errLive: boolean;
  /** How many letters a line of the terminal has. */
  readonly columns: () => number;
  /** The same of stdout alone; undefined where that is no terminal, and lines have no end. */
  readonly width: () => number | undefined;
}

/** As much of process.stdout as a Terminal needs. */
export interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string | Uint8Array): unknown;
}

/**
 * A Terminal on two streams. Colours only where the stream is a terminal, TERM is not "dumb" and
 * NO_COLOR is unset or empty (no-color.org).
 */
export function createTerminal(
  stdout: Output,
  stderr: Output,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const plain = env["TERM"] === "dumb";
  const wanted = !plain && (env["NO_COLOR"] ?? "") === "";
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    style: createStyle(wanted && stdout.isTTY === true),
    errStyle: createStyle(wanted && stderr.isTTY === true),
    live: !plain && stdout.isTTY === true,
    errLive: !plain && stderr.isTTY === true,
    // A terminal that does not know its size says 0.
    columns: () => stderr.columns || stdout.columns || 80,
    width: () => (stdout.isTTY === true ? stdout.columns || undefined : undefined),
  };
}

function createStyle(coloured: boolean): Style {
  const paint = (format: keyof Style) => (text: string) =>
    coloured ? styleText(format, text, { validateStream: false }) : text;
  return {
    bold: paint("bold"),
    dim: paint("dim"),
    red: paint("red"),
    green: paint("green"),
    yellow: paint("yellow"),
  };
}
