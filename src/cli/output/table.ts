import { printable } from "./printable.ts";
import type { Style } from "./terminal.ts";
import { narrowestCell, wrapCell } from "./wrap.ts";

/** A column of a table of `T`. */
export interface Column<T> {
  readonly title: string;
  readonly of: (item: T) => string;
  /** How its text is marked, for what a person should see first. */
  readonly paint?: (item: T, style: Style) => (text: string) => string;
  /** Numbers: their last digits stand under one another. */
  readonly right?: true;
  /** Only in wide tables. */
  readonly wide?: true;
}

/** How a table is printed. */
export interface TableOptions {
  readonly style: Style;
  readonly wide?: boolean;
  /** The letters of a line of the terminal; undefined where it is none. */
  readonly width?: number | undefined;
}

const gap = "   ";

/**
 * A table with its titles, columns three spaces apart, a line an item; titles alone for no items. Where that
 * is wider than the terminal, the widest cells get several lines, as far as their words allow it.
 */
export function formatTable<T>(
  items: readonly T[],
  columns: readonly Column<T>[],
  { style, wide = false, width }: TableOptions,
): string {
  const shown = columns.filter((column) => wide || column.wide !== true);
  const cells = items.map((item) => shown.map(({ of }) => printable(of(item))));
  const widths = widthsOf(
    shown.map(({ title }) => title),
    cells,
    width,
  );
  const line = (row: readonly string[], paint: (at: number, text: string) => string): string => {
    const padded = row.map((text, at) => {
      const painted = paint(at, text);
      // The marks of a colour take no room, so the room is counted without them.
      const room = " ".repeat(Math.max(0, (widths[at] ?? 0) - text.length));
      return shown[at]?.right === true ? `${room}${painted}` : `${painted}${room}`;
    });
    return `${padded.join(gap).trimEnd()}\n`;
  };
  const titles = line(
    shown.map(({ title }) => title),
    (_, text) => style.bold(text),
  );
  const lines = items.flatMap((item, index) => {
    const wrapped = (cells[index] ?? []).map((text, at) => wrapCell(text, widths[at] ?? 0));
    const height = Math.max(1, ...wrapped.map((pieces) => pieces.length));
    return Array.from({ length: height }, (_, row) =>
      line(
        wrapped.map((pieces) => pieces[row] ?? ""),
        (at, text) => shown[at]?.paint?.(item, style)(text) ?? text,
      ),
    );
  });
  return titles + lines.join("");
}

/** What each column gets: what it wants, or less of the widest where that is too much for the terminal. */
function widthsOf(
  titles: readonly string[],
  cells: readonly (readonly string[])[],
  room: number | undefined,
): readonly number[] {
  const most = (of: (text: string) => number): number[] =>
    titles.map((title, at) => Math.max(title.length, ...cells.map((row) => of(row[at] ?? ""))));
  const wanted = most((text) => text.length);
  if (room === undefined) return wanted;
  const least = most(narrowestCell);
  const widths = [...wanted];
  const sum = (): number =>
    widths.reduce((total, each) => total + each, gap.length * (widths.length - 1));
  while (sum() > room) {
    const spare = widths.map((each, at) => (each > (least[at] ?? 0) ? each : 0));
    const widest = Math.max(...spare);
    // It cannot be made to fit: then better as it is.
    if (widest === 0) return wanted;
    widths[spare.indexOf(widest)] = widest - 1;
  }
  // Words seldom fill a line.
  return widths.map((width, at) => {
    const pieces = cells.flatMap((row) => wrapCell(row[at] ?? "", width));
    return Math.max(titles[at]?.length ?? 0, ...pieces.map(({ length }) => length));
  });
}
