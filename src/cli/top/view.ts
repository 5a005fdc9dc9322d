// The screen as lines: pure functions of the state, the rows and the size of the terminal.
import { cellText, cellWidth, cutLine, type Size } from "./cells.ts";
import { type Drawing, layoutFor, rowLine, titleLine } from "./columns.ts";
import { type HeaderFacts, headerLines } from "./header.ts";
import { pagerLines } from "./pager.ts";
import type { Row } from "./rows.ts";
import type { Sample } from "./sample.ts";
import type { Message, TopState } from "./state.ts";

/** What the screen shows. */
export interface Scene {
  readonly sample: Sample;
  readonly facts: HeaderFacts;
  /** The rows of the table, those of open pods with their containers. */
  readonly rows: readonly Row[];
  readonly state: TopState;
  /** A problem with the server, shown below the header until it is solved. */
  readonly banner: string | undefined;
  /** The result of the last action, or one in progress. */
  readonly message: Message | undefined;
}

/** The most important keys. A narrow terminal shows the first ones. */
const hints = [
  "Enter logs",
  "s shell",
  "w why",
  "i inspect",
  "x stop",
  "? help",
  "q quit",
  "/ filter",
  "Space unfold",
  "o sort",
];

/** The number of rows of the table that fit, at least one. */
export function tableHeight(scene: Scene, size: Size, drawing: Drawing): number {
  return Math.max(1, size.rows - topLines(scene, drawing).length - 2);
}

/** The screen: exactly as many lines as the terminal has, none wider than it. */
export function frame(scene: Scene, size: Size, drawing: Drawing): readonly string[] {
  const { mode } = scene.state;
  const body =
    mode.name === "pager"
      ? pagerLines(mode.pager, { ...size, rows: size.rows - 1 }, drawing.style)
      : tableLines(scene, size, drawing);
  const lines = body.slice(0, Math.max(0, size.rows - 1));
  while (lines.length < size.rows - 1) lines.push("");
  lines.push(bottomLine(scene, size, drawing));
  return lines.map((line) => cutLine(line, size.columns));
}

function topLines({ sample, facts, banner }: Scene, drawing: Drawing): readonly string[] {
  const lines = headerLines(sample, facts, drawing);
  return banner === undefined ? lines : [...lines, drawing.style.red(cellText(banner))];
}

function tableLines(scene: Scene, size: Size, drawing: Drawing): string[] {
  const { rows, state } = scene;
  const layout = layoutFor(rows, drawing, { width: size.columns, traffic: state.traffic });
  const shown = rows.slice(state.top, state.top + tableHeight(scene, size, drawing));
  return [
    ...topLines(scene, drawing),
    titleLine(layout, drawing),
    ...shown.map((row) => rowLine(row, layout, drawing, row.id === state.selected)),
  ];
}

function bottomLine({ state, rows, sample, message }: Scene, size: Size, drawing: Drawing): string {
  const { style, symbols } = drawing;
  switch (state.mode.name) {
    case "filter":
      return `/${cellText(state.filter)}_  ${style.dim("Enter keeps the filter, Esc clears it")}`;
    case "confirm":
      return style.yellow(`${cellText(state.mode.question)} (y/n)`);
    case "pager":
      if (message !== undefined) break;
      return style.dim("q back  Up/Down/PgUp/PgDn scroll  g start  G end");
    case "table":
  }
  if (message !== undefined) {
    const text = cellText(message.text);
    return message.tone === undefined ? text : style[message.tone](text);
  }
  const pods = rows.filter(({ kind }) => kind === "pod").length;
  const facts = [
    `sort ${state.sort}`,
    ...(state.filter === "" ? [] : [`filter ${cellText(state.filter)}`]),
    ...(pods === sample.pods.length ? [] : [`${pods} of ${sample.pods.length} pods`]),
  ].join(` ${symbols.separator} `);
  const width = size.columns - cellWidth(facts) - 2;
  let keys = "";
  for (const hint of hints) {
    const longer = keys === "" ? hint : `${keys}  ${hint}`;
    if (longer.length > width) break;
    keys = longer;
  }
  return style.dim(keys === "" ? facts : `${keys.padEnd(width)}  ${facts}`);
}
