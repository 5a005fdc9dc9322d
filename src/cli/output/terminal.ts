import { styleText } from "node:util";

/** Functions that color text, or return it unchanged if colors are disabled. */
export interface Style {
  readonly bold: (text: string) => string;
  readonly dim: (text: string) => string;
  readonly red: (text: string) => string;
  readonly green: (text: string) => string;
  readonly yellow: (text: string) => string;
  readonly inverse: (text: string) => string;
}

/** The stdout and stderr of a command. */
export interface Terminal {
  /** Writes results to stdout. */
  out(text: string | Uint8Array): void;
  /** Writes errors, notes and progress to stderr. */
  err(text: string | Uint8Array): void;
  /** The style for `out`. */
  readonly style: Style;
  /** The style for `err`. */
  readonly errStyle: Style;
  /** Whether lines of stdout can be redrawn: it is a terminal, and not a dumb one. */
  readonly live: boolean;
  /** The same for stderr, which shows progress. */
  readonly errLive: boolean;
  /** The number of columns of the terminal. */
  readonly columns: () => number;
  /** The number of columns of stdout; undefined if that is not a terminal, so lines are not wrapped. */
  readonly width: () => number | undefined;
}

/** The part of process.stdout that a Terminal needs. */
interface Output {
  readonly isTTY?: boolean | undefined;
  readonly columns?: number | undefined;
  write(text: string | Uint8Array): unknown;
}

/**
 * Makes a Terminal of two streams. Colors are enabled if the stream is a terminal, TERM is not "dumb" and
 * NO_COLOR is unset or empty (no-color.org).
 */
export function createTerminal(
  stdout: Output,
  stderr: Output,
  env: Readonly<Record<string, string | undefined>>,
): Terminal {
  const plain = env["TERM"] === "dumb";
  const colored = !plain && (env["NO_COLOR"] ?? "") === "";
  return {
    out: (text) => void stdout.write(text),
    err: (text) => void stderr.write(text),
    style: createStyle(colored && stdout.isTTY === true),
    errStyle: createStyle(colored && stderr.isTTY === true),
    live: !plain && stdout.isTTY === true,
    errLive: !plain && stderr.isTTY === true,
    // A terminal without a known size reports 0.
    columns: () => stderr.columns || stdout.columns || 80,
    width: () => (stdout.isTTY === true ? stdout.columns || undefined : undefined),
  };
}

function createStyle(colored: boolean): Style {
  const paint = (format: keyof Style) => (text: string) =>
    colored ? styleText(format, text, { validateStream: false }) : text;
  return {
    bold: paint("bold"),
    dim: paint("dim"),
    red: paint("red"),
    green: paint("green"),
    yellow: paint("yellow"),
    inverse: paint("inverse"),
  };
}
