import { formatBytes } from "../output/figures.ts";
import type { Style } from "../output/terminal.ts";
import { cellText, cellWidth, fitCell } from "./cells.ts";
import { type Row, stateText } from "./rows.ts";
import { bar, sparkline, type Symbols } from "./symbols.ts";
import { sparkCells } from "./usage.ts";

/** How rows are drawn. */
export interface Drawing {
  readonly style: Style;
  readonly symbols: Symbols;
  readonly nowMs: number;
  /** The pods whose containers are shown. */
  readonly open: ReadonlySet<string>;
}

/** A column of fixed width between the name and the state. */
interface TopColumn {
  readonly title: string;
  readonly width: number;
  readonly right?: true;
  readonly of: (row: Row, drawing: Drawing) => string;
  readonly paint?: (row: Row, style: Style) => (text: string) => string;
}

const barCells = 8;

const columns = {
  containers: {
    title: "CONTAINERS",
    width: 10,
    of: (row) => (row.kind === "pod" ? `${row.running}/${row.all}` : ""),
  },
  cpu: {
    title: "CPU",
    width: 7,
    right: true,
    of: ({ cpu }) => (cpu === undefined ? "-" : `${(cpu * 100).toFixed(1)}%`),
  },
  history: {
    title: "LAST MINUTE",
    width: sparkCells,
    of: ({ cpuHistory }, { symbols }) => sparkline(cpuHistory ?? [], symbols),
    paint: (_, style) => style.dim,
  },
  memory: { title: "MEMORY", width: 7, right: true, of: ({ memoryBytes }) => bytes(memoryBytes) },
  limit: {
    title: "OF LIMIT",
    width: barCells + 8,
    of: ({ memoryBytes, limitBytes }, { symbols }) =>
      memoryBytes === undefined || limitBytes === undefined
        ? ""
        : `${bar(memoryBytes / limitBytes, barCells, symbols)} ${formatBytes(limitBytes)}`,
    paint: ({ memoryBytes = 0, limitBytes = 1 }, style) => {
      const share = memoryBytes / limitBytes;
      return share > 0.9 ? style.red : share > 0.75 ? style.yellow : style.green;
    },
  },
  restarts: {
    title: "RESTARTS",
    width: 8,
    right: true,
    of: ({ restarts }) => String(restarts),
    paint: ({ restarts }, style) => (restarts > 0 ? style.yellow : style.dim),
  },
  rx: { title: "NET RX", width: 9, right: true, of: (row) => rate(row, "rx") },
  tx: { title: "NET TX", width: 9, right: true, of: (row) => rate(row, "tx") },
} as const satisfies Readonly<Record<string, TopColumn>>;

type ColumnName = keyof typeof columns;

const order: readonly ColumnName[] = [
  "containers",
  "cpu",
  "history",
  "memory",
  "limit",
  "restarts",
  "rx",
  "tx",
];

/** The columns that a narrow terminal does not show, in the order in which they are dropped. */
const dropOrder: readonly (readonly ColumnName[])[] = [
  ["history"],
  ["limit"],
  ["restarts"],
  ["containers"],
  ["rx", "tx"],
  ["memory"],
  ["cpu"],
];

const gap = 2;
/** The width of the mark of the selected row, and of the mark of a folded pod. */
const markCells = 2;
/** Columns are dropped until names have this width, or the width of the longest one. */
const leastName = 14;
const mostState = 23;

/** The widths of a table for a terminal. */
export interface Layout {
  readonly columns: readonly TopColumn[];
  readonly name: number;
  readonly state: number;
}

/** Chooses the columns for these rows in a terminal of `width` columns. */
export function layoutFor(
  rows: readonly Row[],
  drawing: Drawing,
  options: { readonly width: number; readonly traffic: boolean },
): Layout {
  const shown = new Set(
    order.filter((name) => options.traffic || (name !== "rx" && name !== "tx")),
  );
  const widest = (of: (row: Row) => string, title: string): number =>
    rows.reduce((most, row) => Math.max(most, cellWidth(of(row))), title.length);
  const longest = widest((row) => nameOf(row, drawing), "NAME");
  const state = Math.min(
    mostState,
    widest((row) => stateText(row, drawing.nowMs), "STATE"),
  );
  const left = (): number => {
    const fixed = [...shown].reduce((sum, name) => sum + columns[name].width + gap, 0);
    return options.width - markCells - fixed - state - gap;
  };
  const least = Math.min(leastName, longest);
  for (const names of dropOrder) {
    if (left() >= least) break;
    for (const name of names) shown.delete(name);
  }
  return {
    columns: order.filter((name) => shown.has(name)).map((name) => columns[name]),
    name: Math.max(0, Math.min(left(), longest)),
    state,
  };
}

/** The titles of a table. */
export function titleLine(layout: Layout, { style, symbols }: Drawing): string {
  const { ellipsis } = symbols;
  const cells = [
    fitCell("NAME", layout.name, { ellipsis }),
    ...layout.columns.map(({ title, width, right = false }) =>
      fitCell(title, width, { right, ellipsis }),
    ),
    "STATE",
  ];
  return style.bold(`${" ".repeat(markCells)}${cells.join(" ".repeat(gap))}`);
}

/** The line of a row. */
export function rowLine(row: Row, layout: Layout, drawing: Drawing, selected: boolean): string {
  const { symbols, nowMs } = drawing;
  const { ellipsis } = symbols;
  const plain: Paint = () => (text) => text;
  // The selected row has one color, so that it is visible as a whole.
  const paint = (own: Paint | undefined): Paint => (selected ? plain : (own ?? plain));
  const { style } = drawing;
  const name = fitCell(nameOf(row, drawing), layout.name, { ellipsis });
  const state = fitCell(cellText(stateText(row, nowMs)), layout.state, { ellipsis });
  const cells = [
    row.kind === "pod" ? paint(() => style.bold)(row, style)(name) : name,
    ...layout.columns.map((column) => {
      const { right = false, width } = column;
      const text = fitCell(column.of(row, drawing), width, { right, ellipsis });
      return paint(column.paint)(row, style)(text);
    }),
    paint(({ tone }) => style[tone])(row, style)(state),
  ];
  const line = `${selected ? ">" : " "} ${cells.join(" ".repeat(gap))}`;
  return selected ? style.inverse(line) : line;
}

type Paint = (row: Row, style: Style) => (text: string) => string;

function nameOf(row: Row, { open, symbols }: Drawing): string {
  if (row.kind === "container") return `    ${cellText(row.name)}`;
  const mark = open.has(row.id) ? symbols.unfolded : symbols.folded;
  return `${row.containers.length === 0 ? " " : mark} ${cellText(row.name)}`;
}

function rate(row: Row, direction: "rx" | "tx"): string {
  if (row.kind === "container") return "";
  return row.network === undefined ? "-" : `${formatBytes(row.network[direction])}/s`;
}

function bytes(value: number | undefined): string {
  return value === undefined ? "-" : formatBytes(value);
}
