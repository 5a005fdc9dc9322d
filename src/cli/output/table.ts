import { printable } from "./printable.ts";
import type { Style } from "./terminal.ts";
import { narrowestCell, wrapCell } from "./wrap.ts";

/** A column of a table of `T`. */
export interface Column<T> {
  readonly title: string;
  readonly of: (item: T) => string;
  /** The color of a cell. */
  readonly paint?: (item: T, style: Style) => (text: string) => string;
  /** Right-aligned, for numbers. */
  readonly right?: true;
  /** Shown only in wide tables. */
  readonly wide?: true;
}

/** The options of a table. */
interface TableOptions {
  readonly style: Style;
  readonly wide?: boolean;
  /** The number of columns of the terminal; undefined if the output is not a terminal. */
  readonly width?: number | undefined;
}

const gap = "   ";

/**
 * A table with a line of titles and a line for each item. If it is wider than the terminal, the widest cells
 * are wrapped, as far as their words permit.
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
      // The padding is computed without the escape sequences of colors.
      const padding = " ".repeat(Math.max(0, (widths[at] ?? 0) - text.length));
      return shown[at]?.right === true ? `${padding}${painted}` : `${painted}${padding}`;
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

/** The widths of the columns: their natural widths, reduced from the widest on to fit the terminal. */
function widthsOf(
  titles: readonly string[],
  cells: readonly (readonly string[])[],
  available: number | undefined,
): readonly number[] {
  const most = (of: (text: string) => number): number[] =>
    titles.map((title, at) => Math.max(title.length, ...cells.map((row) => of(row[at] ?? ""))));
  const natural = most((text) => text.length);
  if (available === undefined) return natural;
  const least = most(narrowestCell);
  const widths = [...natural];
  const sum = (): number =>
    widths.reduce((total, each) => total + each, gap.length * (widths.length - 1));
  while (sum() > available) {
    const shrinkable = widths.map((each, at) => (each > (least[at] ?? 0) ? each : 0));
    const widest = Math.max(...shrinkable);
    // The table cannot fit: do not wrap it at all.
    if (widest === 0) return natural;
    widths[shrinkable.indexOf(widest)] = widest - 1;
  }
  // Wrapped words seldom fill the whole width: use the actual widths.
  return widths.map((width, at) => {
    const pieces = cells.flatMap((row) => wrapCell(row[at] ?? "", width));
    return Math.max(titles[at]?.length ?? 0, ...pieces.map(({ length }) => length));
  });
}
