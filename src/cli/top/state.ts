// What the user has chosen, and how keys change it: pure functions.
import type { Key } from "./keys.ts";
import { type Pager, scroll } from "./pager.ts";
import {
  type ContainerRow,
  onlyContainer,
  type PodRow,
  type Row,
  type SortKey,
  sortKeys,
} from "./rows.ts";

/** The state of the screen. */
export interface TopState {
  /** The id of the selected row. */
  readonly selected: string | undefined;
  /** Whether the user has selected the row. Until then it is the first one, whatever the order becomes. */
  readonly isChosen: boolean;
  /** The first row on the screen. */
  readonly top: number;
  /** The pods whose containers are shown. */
  readonly open: ReadonlySet<string>;
  readonly sort: SortKey;
  readonly filter: string;
  /** Whether the columns of the network are shown. */
  readonly traffic: boolean;
  readonly mode: Mode;
}

/** What the keys act on. */
export type Mode =
  | { readonly name: "table" }
  | { readonly name: "filter"; readonly before: string }
  | { readonly name: "confirm"; readonly question: string; readonly row: Row }
  | { readonly name: "pager"; readonly pager: Pager };

/** The state at the start. */
export const initialState: TopState = {
  selected: undefined,
  isChosen: false,
  top: 0,
  open: new Set(),
  sort: "cpu",
  filter: "",
  traffic: false,
  mode: { name: "table" },
};

/** What a key asks for that is more than a change of the state. */
export type Action = { readonly do: GeneralAction } | RowAction;

type GeneralAction =
  | "quit"
  | "interrupt"
  | "suspend"
  | "redraw"
  | "help"
  | "failures"
  | "activity"
  | "close";

/** An action on the object of a row. */
export type RowAction =
  | { readonly do: "logs" | "shell"; readonly row: ContainerRow }
  | { readonly do: "why" | "inspect" | "ask-stop" | "stop"; readonly row: Row };

/** The result of an action, or one in progress: a line at the bottom of the screen. */
export interface Message {
  readonly text: string;
  readonly tone?: "red" | "green" | undefined;
}

/** The result of a key. */
export interface Step {
  readonly state: TopState;
  readonly action?: Action;
  readonly message?: Message;
  /** The key does nothing here: a message that is on the screen stays. */
  readonly isUnbound?: boolean;
}

/** What is on the screen when a key is pressed. */
export interface Shown {
  readonly rows: readonly Row[];
  /** The height of the table. */
  readonly height: number;
  /** The height of the terminal. */
  readonly screen: number;
}

/** The rows of pods, with those of the containers of open pods. */
export function flatten(pods: readonly PodRow[], open: ReadonlySet<string>): readonly Row[] {
  return pods.flatMap((pod): readonly Row[] =>
    open.has(pod.id) ? [pod, ...pod.containers] : [pod],
  );
}

/**
 * The state for new rows: if the selected row is gone, its pod or the row in its place is selected, and the selected
 * row is scrolled into the table.
 */
export function settle(state: TopState, { rows, height }: Shown, before: readonly Row[]): TopState {
  const indexOf = (id: string | undefined): number => rows.findIndex((row) => row.id === id);
  let at = state.isChosen ? indexOf(state.selected) : 0;
  if (at < 0) {
    const place = before.findIndex(({ id }) => id === state.selected);
    const pod = indexOf(before[place]?.podId);
    at = pod >= 0 ? pod : Math.min(Math.max(place, 0), rows.length - 1);
  }
  const last = Math.max(0, rows.length - height);
  const top = Math.min(last, Math.max(Math.min(state.top, at), at - height + 1, 0));
  return { ...state, selected: rows[at]?.id, top };
}

/** The state after a key, and what the key asks for. */
export function press(state: TopState, key: Key, shown: Shown): Step {
  if (key.name === "ctrl-c") return { state, action: { do: "interrupt" } };
  if (key.name === "ctrl-z") return { state, action: { do: "suspend" } };
  if (key.name === "ctrl-l") return { state, action: { do: "redraw" } };
  switch (state.mode.name) {
    case "table":
      return pressInTable(state, key, shown);
    case "filter":
      return changed(state, typeFilter(state, key, state.mode.before));
    case "confirm":
      return confirm(state, key, state.mode.row);
    case "pager": {
      const pager = scroll(state.mode.pager, key, shown.screen);
      if (pager === state.mode.pager) return { state, isUnbound: true };
      if (pager !== undefined) return { state: { ...state, mode: { name: "pager", pager } } };
      return { state: { ...state, mode: { name: "table" } }, action: { do: "close" } };
    }
  }
}

function changed(before: TopState, state: TopState): Step {
  return state === before ? { state, isUnbound: true } : { state };
}

function typeFilter(state: TopState, key: Key, before: string): TopState {
  if (key.name === "text") return { ...state, filter: state.filter + key.text };
  if (key.name === "backspace") {
    return { ...state, filter: Array.from(state.filter).slice(0, -1).join("") };
  }
  if (key.name === "ctrl-u") return { ...state, filter: "" };
  const done = { ...state, mode: { name: "table" } } as const;
  if (key.name === "enter" || key.name === "down") return done;
  // Escape returns to the filter before, or clears one that was not changed.
  if (key.name === "escape") return { ...done, filter: before === state.filter ? "" : before };
  return state;
}

function confirm(state: TopState, key: Key, row: Row): Step {
  const done: TopState = { ...state, mode: { name: "table" } };
  const isYes = key.name === "text" && (key.text === "y" || key.text === "Y");
  return isYes
    ? { state: done, action: { do: "stop", row } }
    : { state: done, message: { text: `${row.path} is not stopped` } };
}

const moves: Readonly<Record<string, (at: number, page: number, last: number) => number>> = {
  up: (at) => at - 1,
  k: (at) => at - 1,
  down: (at) => at + 1,
  j: (at) => at + 1,
  "page-up": (at, page) => at - page,
  "page-down": (at, page) => at + page,
  home: () => 0,
  g: () => 0,
  end: (_at, _page, last) => last,
  G: (_at, _page, last) => last,
};

const sortLetters: Readonly<Record<string, SortKey>> = {
  C: "cpu",
  M: "memory",
  A: "age",
  N: "name",
};

function pressInTable(state: TopState, key: Key, shown: Shown): Step {
  const word = key.name === "text" ? key.text : key.name;
  const at = Math.max(
    0,
    shown.rows.findIndex(({ id }) => id === state.selected),
  );
  const row = shown.rows[at];
  const move = moves[word];
  if (move !== undefined) {
    const last = shown.rows.length - 1;
    const to = Math.max(0, Math.min(last, move(at, shown.height, last)));
    return { state: { ...state, isChosen: true, selected: shown.rows[to]?.id } };
  }
  const sort = sortLetters[word];
  if (sort !== undefined) return { state: { ...state, sort } };
  const setting = changeSetting(state, word);
  if (setting !== undefined) return { state: setting };
  const general = generalActions[word];
  if (general !== undefined) return { state, action: { do: general } };
  if (row === undefined) return { state, isUnbound: true };
  const step = pressOnRow({ ...state, isChosen: true }, word, row, shown.rows);
  return step.isUnbound === true ? { ...step, state } : step;
}

const generalActions: Readonly<Record<string, GeneralAction>> = {
  q: "quit",
  "?": "help",
  h: "help",
  f: "failures",
  p: "activity",
};

function changeSetting(state: TopState, word: string): TopState | undefined {
  switch (word) {
    case "/":
      return { ...state, mode: { name: "filter", before: state.filter } };
    case "escape":
      return { ...state, filter: "" };
    case "o":
      return {
        ...state,
        sort: sortKeys[(sortKeys.indexOf(state.sort) + 1) % sortKeys.length] ?? "cpu",
      };
    case "t":
      return { ...state, traffic: !state.traffic };
    default:
      return undefined;
  }
}

function pressOnRow(state: TopState, word: string, row: Row, rows: readonly Row[]): Step {
  switch (word) {
    case "enter":
    case "l":
      return onContainer(state, row, (container) => ({ do: "logs", row: container }));
    case "s":
      return onContainer(state, row, (container) => ({ do: "shell", row: container }));
    case "w":
      return { state, action: { do: "why", row } };
    case "i":
      return { state, action: { do: "inspect", row } };
    case "d":
    case "x":
      return { state, action: { do: "ask-stop", row } };
    case " ":
      return { state: fold(state, row, !state.open.has(row.podId)) };
    case "right":
      return { state: fold(state, row, true) };
    case "left":
      return { state: fold(state, row, false) };
    case "tab": {
      const pods = rows.filter(({ kind }) => kind === "pod").map(({ id }) => id);
      const isOpen = pods.every((id) => state.open.has(id));
      return { state: { ...state, selected: row.podId, open: new Set(isOpen ? [] : pods) } };
    }
    default:
      return { state, isUnbound: true };
  }
}

/** Shows or hides the containers of the row's pod, which becomes the selected row when they are hidden. */
function fold(state: TopState, row: Row, isOpen: boolean): TopState {
  const open = new Set(state.open);
  if (isOpen) open.add(row.podId);
  else open.delete(row.podId);
  return { ...state, open, selected: isOpen ? row.id : row.podId };
}

/** An action on the container that the row stands for. A pod with several is unfolded, to choose one. */
function onContainer(state: TopState, row: Row, action: (row: ContainerRow) => Action): Step {
  const container = onlyContainer(row);
  if (container !== undefined) return { state, action: action(container) };
  const isEmpty = row.kind === "pod" && row.containers.length === 0;
  const text = isEmpty
    ? `pod ${row.path} has no containers`
    : `pod ${row.path} has several containers: select one`;
  return { state: fold(state, row, true), message: { text, tone: "red" } };
}
