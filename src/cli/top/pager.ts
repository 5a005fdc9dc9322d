import type { Style } from "../output/terminal.ts";
import { cellText, cellWidth, fitCell, type Size } from "./cells.ts";
import type { Key } from "./keys.ts";

/** A scrollable text. Its lines may have colors, but no other escape sequences. */
export interface Pager {
  readonly title: string;
  readonly lines: readonly string[];
  /** The first line on the screen; undefined shows the end, also when lines are added. */
  readonly top: number | undefined;
}

/** The largest number of lines that is kept, and the largest length of a line. */
export const mostLines = 5_000;
export const longestLine = 4_096;

/** Text of a container or a server as a line of a pager: without escape sequences and control characters. */
export function plainLine(text: string): string {
  // ECMA-48: CSI sequences, and OSC strings up to BEL or ST.
  const escapes =
    /\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)?|[ -/]*[0-~])/g;
  return cellText(text.slice(0, longestLine).replace(escapes, "").replaceAll("\t", "    "));
}

/** The colors and weights of `Style`, and no other sequence. */
const styling = /(\u001b\[(?:1|2|7|22|27|3[123]|39)m)/;

/** As `plainLine`, for the output of a command of davit, whose colors are kept. */
export function styledLine(text: string): string {
  return text
    .split(styling)
    .map((part, at) => (at % 2 === 1 ? part : plainLine(part)))
    .join("");
}

/** A pager with more lines at the end. The oldest ones are dropped. */
export function appendLines(pager: Pager, lines: readonly string[]): Pager {
  const all = [...pager.lines, ...lines];
  const dropped = Math.max(0, all.length - mostLines);
  const top = pager.top === undefined ? undefined : Math.max(0, pager.top - dropped);
  return { ...pager, lines: all.slice(dropped), top };
}

/** The lines of text that fit: a title and the bottom line are always shown. */
const otherRows = 2;

const closing: ReadonlySet<string> = new Set(["q", "escape", "left"]);

/** How many lines a key moves the text, for a page of this number of lines. */
const moves: Readonly<Record<string, (page: number) => number>> = {
  up: () => -1,
  k: () => -1,
  down: () => 1,
  j: () => 1,
  enter: () => 1,
  "page-up": (page) => -page,
  b: (page) => -page,
  "page-down": (page) => page,
  " ": (page) => page,
  home: () => -Infinity,
  g: () => -Infinity,
  end: () => Infinity,
  G: () => Infinity,
};

/** The pager after a key; undefined if the key closes it. `rows` is the height of the screen. */
export function scroll(pager: Pager, key: Key, rows: number): Pager | undefined {
  const word = key.name === "text" ? key.text : key.name;
  if (closing.has(word)) return undefined;
  const page = Math.max(1, rows - otherRows);
  const lines = moves[word]?.(page);
  if (lines === undefined) return pager;
  const last = Math.max(0, pager.lines.length - page);
  const top = Math.max(0, (pager.top ?? last) + lines);
  // At the end, further lines are followed.
  return { ...pager, top: top >= last && lines > 0 ? undefined : top };
}

/** The lines of the screen: a title, and the text. Long lines without colors are continued in the next row. */
export function pagerLines(pager: Pager, size: Size, style: Style): string[] {
  const height = Math.max(1, size.rows - 1);
  const shown: string[] = [];
  if (pager.top === undefined) {
    for (let at = pager.lines.length - 1; at >= 0 && shown.length < height; at -= 1) {
      shown.unshift(...rowsOf(pager.lines[at] ?? "", size.columns));
    }
    shown.splice(0, Math.max(0, shown.length - height));
  } else {
    for (let at = pager.top; at < pager.lines.length && shown.length < height; at += 1) {
      shown.push(...rowsOf(pager.lines[at] ?? "", size.columns));
    }
  }
  return [
    style.bold(fitCell(pager.title, size.columns, { ellipsis: "~" })),
    ...shown.slice(0, height),
  ];
}

function rowsOf(line: string, columns: number): readonly string[] {
  if (line.includes("\u001b") || cellWidth(line) <= columns) return [line];
  const rows: string[] = [];
  let [row, cells] = ["", 0];
  for (const character of line) {
    const own = cellWidth(character);
    if (cells + own > columns && row !== "") {
      rows.push(row);
      [row, cells] = ["", 0];
    }
    row += character;
    cells += own;
  }
  return [...rows, row];
}
