/** The characters that draw the screen. */
export interface Symbols {
  /** Eight levels, lowest first. */
  readonly levels: readonly string[];
  readonly barFull: string;
  readonly barEmpty: string;
  readonly folded: string;
  readonly unfolded: string;
  readonly ellipsis: string;
  readonly separator: string;
}

const unicode: Symbols = {
  levels: ["▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
  barFull: "█",
  barEmpty: "░",
  folded: "▸",
  unfolded: "▾",
  ellipsis: "…",
  separator: "·",
};

const ascii: Symbols = {
  levels: ["_", ".", "-", ":", "=", "+", "*", "#"],
  barFull: "#",
  barEmpty: ".",
  folded: "+",
  unfolded: "-",
  ellipsis: "~",
  separator: "|",
};

/** Unicode symbols in a UTF-8 locale, ASCII elsewhere. POSIX: LC_ALL, else LC_CTYPE, else LANG. */
export function symbolsFor(env: Readonly<Record<string, string | undefined>>): Symbols {
  const locale = [env["LC_ALL"], env["LC_CTYPE"], env["LANG"]].find(
    (value) => value !== undefined && value !== "",
  );
  return /utf-?8/i.test(locale ?? "") ? unicode : ascii;
}

/** A bar of `width` cells that is full to this share (0 to 1). */
export function bar(share: number, width: number, symbols: Symbols): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width);
  return symbols.barFull.repeat(full) + symbols.barEmpty.repeat(width - full);
}

/** Below this use of a CPU a sparkline is flat: noise of an idle container would fill it otherwise. */
const leastPeak = 0.05;

/**
 * A cell for each value, oldest first, relative to the largest one; a space where there is no value.
 */
export function sparkline(values: readonly (number | undefined)[], symbols: Symbols): string {
  const peak = Math.max(leastPeak, ...values.map((value) => value ?? 0));
  const last = symbols.levels.length - 1;
  return values
    .map((value) => (value === undefined ? " " : symbols.levels[Math.round((value / peak) * last)]))
    .join("");
}
