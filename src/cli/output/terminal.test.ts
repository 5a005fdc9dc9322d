import assert from "node:assert/strict";
import { test } from "node:test";
import { createTerminal } from "./terminal.ts";

const RED_X = "\u001b[31mx\u001b[39m";

function red(isTTY: boolean, env: Readonly<Record<string, string>>): readonly [string, string] {
  const stream = { isTTY, write: () => true };
  const other = { write: () => true };
  const terminal = createTerminal(other, stream, env);
  return [terminal.style.red("x"), terminal.errStyle.red("x")];
}

test("createTerminal() colors only streams that are terminals", () => {
  assert.deepEqual(red(true, { TERM: "xterm" }), ["x", RED_X]);
  assert.deepEqual(red(false, { TERM: "xterm" }), ["x", "x"]);
});

test("createTerminal() respects NO_COLOR unless it is empty, and dumb terminals", () => {
  assert.deepEqual(red(true, { NO_COLOR: "1" }), ["x", "x"]);
  assert.deepEqual(red(true, { NO_COLOR: "" }), ["x", RED_X]);
  assert.deepEqual(red(true, { TERM: "dumb" }), ["x", "x"]);
});

test("createTerminal() is live if lines can be redrawn", () => {
  const live = (isTTY: boolean, TERM: string): boolean =>
    createTerminal({ isTTY, write: () => true }, { write: () => true }, { TERM }).live;
  assert.equal(live(true, "xterm"), true);
  assert.equal(live(true, "dumb"), false);
  assert.equal(live(false, "xterm"), false);
});

test("createTerminal() assumes 80 columns for a terminal of unknown size", () => {
  const columns = (known?: number): number =>
    createTerminal({ columns: known, write: () => true }, { write: () => true }, {}).columns();
  assert.deepEqual([columns(0), columns(), columns(120)], [80, 80, 120]);
});

test("createTerminal() has a width only if stdout is a terminal", () => {
  const width = (isTTY: boolean, columns?: number): number | undefined =>
    createTerminal({ isTTY, columns, write: () => true }, { write: () => true }, {}).width();
  assert.deepEqual([width(true, 62), width(true, 0), width(false, 62)], [62, undefined, undefined]);
});
