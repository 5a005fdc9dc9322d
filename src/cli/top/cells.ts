// Text in the cells of a terminal: its width, and how it is cut and padded.
import { printable } from "../output/printable.ts";

/** The size of a terminal in cells. */
export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/**
 * Characters that terminals draw in two cells: East Asian Wide and Fullwidth of Unicode's EastAsianWidth.txt, and
 * emoji.
 */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;

/** Marks that are drawn over the character before them. */
const mark = /\p{Mn}|\p{Me}/u;

const escape = "\u001b";

/** ECMA-48: the sequences of colors, which have no width. */
const sequence = /\u001b\[[\d;]*m/y;

/**
 * Untrusted text for a cell. Besides control characters it replaces line separators, and it drops the characters
 * without a width of their own (joiners, directional overrides, variation selectors): terminals do not agree on what
 * they draw for those, and an override would reverse the rest of the line.
 */
export function cellText(text: string): string {
  return printable(text)
    .replace(/[\u2028\u2029\ud800-\udfff\u{1f1e6}-\u{1f1ff}]/gu, "?")
    .replace(/\p{Cf}|[\ufe00-\ufe0f\u{e0100}-\u{e01ef}]/gu, "");
}

function widthOf(character: string): number {
  if (character >= " " && character <= "~") return 1;
  if (mark.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/** The number of cells of a text without escape sequences. */
export function cellWidth(text: string): number {
  let cells = 0;
  for (const character of text) cells += widthOf(character);
  return cells;
}

/** Cuts or pads text without escape sequences to exactly `width` cells. A cut is marked with `…` or `~`. */
export function fitCell(text: string, width: number, options: FitOptions): string {
  const own = cellWidth(text);
  if (own <= width) {
    const padding = " ".repeat(width - own);
    return options.right === true ? `${padding}${text}` : `${text}${padding}`;
  }
  if (width <= 0) return "";
  let [cut, cells] = ["", 0];
  for (const character of text) {
    const next = cells + widthOf(character);
    if (next > width - 1) break;
    cut += character;
    cells = next;
  }
  return `${cut}${options.ellipsis}`.padEnd(cut.length + width - cells);
}

/** Options of `fitCell`. */
export interface FitOptions {
  readonly right?: boolean;
  /** The mark of a cut, one cell wide. */
  readonly ellipsis: string;
}

/**
 * Cuts a line, which may have colors, to `width` cells. A color that is open at the cut is closed.
 */
export function cutLine(line: string, width: number): string {
  let [cells, at] = [0, 0];
  while (at < line.length) {
    sequence.lastIndex = at;
    if (line[at] === escape && sequence.test(line)) {
      at = sequence.lastIndex;
      continue;
    }
    const character = String.fromCodePoint(line.codePointAt(at) ?? 0);
    cells += widthOf(character);
    if (cells > width) return `${line.slice(0, at)}${line.includes(escape) ? `${escape}[0m` : ""}`;
    at += character.length;
  }
  return line;
}
