import { printable } from "./printable.ts";
import type { Style } from "./terminal.ts";

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

/** A table with its titles, columns three spaces apart, a line an item; titles alone for no items. */
export function formatTable<T>(
  items: readonly T[],
  columns: readonly Column<T>[],
  { style, wide = false }: { readonly style: Style; readonly wide?: boolean },
): string {
  const shown = columns.filter((column) => wide || column.wide !== true);
  const cells = items.map((item) => shown.map(({ of }) => printable(of(item))));
  const widths = shown.map(({ title }, at) =>
    Math.max(title.length, ...cells.map((row) => row[at]?.length ?? 0)),
  );
  const line = (row: readonly string[], paint: (at: number, text: string) => string): string => {
    const padded = row.map((text, at) => {
      const width = widths[at] ?? 0;
      const painted = paint(at, text);
      // The marks of a colour take no room, so the room is counted without them.
      const room = " ".repeat(Math.max(0, width - text.length));
      return shown[at]?.right === true ? `${room}${painted}` : `${painted}${room}`;
    });
    return `${padded.join("   ").trimEnd()}\n`;
  };
  const titles = line(
    shown.map(({ title }) => title),
    (_, text) => style.bold(text),
  );
  const lines = items.map((item, index) =>
    line(cells[index] ?? [], (at, text) => shown[at]?.paint?.(item, style)(text) ?? text),
  );
  return titles + lines.join("");
}
