import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { recordedTerminal } from "../output/testing/recorded-terminal.ts";
import {
  appendLines,
  mostLines,
  type Pager,
  pagerLines,
  plainLine,
  scroll,
  styledLine,
} from "./pager.ts";

const { style } = recordedTerminal();
const ten = Array.from({ length: 10 }, (_, at) => `line ${at}`);
const pager: Pager = { title: "log", lines: ten, top: 0 };

/** The text lines on a screen of 6 rows, of which one is the bottom line. */
function visible(of: Pager | undefined, columns = 20): readonly string[] {
  assert.ok(of);
  return pagerLines(of, { columns, rows: 5 }, style).slice(1);
}

function after(from: Pager, ...keys: readonly string[]): Pager | undefined {
  return keys.reduce<Pager | undefined>(
    (now, text) => (now === undefined ? now : scroll(now, { name: "text", text }, 6)),
    from,
  );
}

test("scroll() moves through the text, and follows its end", () => {
  assert.deepEqual(visible(pager), ten.slice(0, 4));
  assert.deepEqual(visible(after(pager, "j")), ten.slice(1, 5));
  assert.deepEqual(visible(after(pager, " ")), ten.slice(4, 8));
  const end = after(pager, " ", " ");
  assert.deepEqual(visible(end), ten.slice(6));
  assert.ok(end);
  assert.deepEqual(visible(appendLines(end, ["new"])), [...ten.slice(7), "new"], "it follows");
  assert.deepEqual(visible(after(end, "k")), ten.slice(5, 9));
  assert.deepEqual(visible(after(end, "g")), ten.slice(0, 4));
  assert.deepEqual(visible(after(pager, "k", "b")), ten.slice(0, 4));
  assert.equal(after(pager, "q"), undefined);
  assert.equal(scroll(pager, { name: "escape" }, 6), undefined);
});

test("pagerLines() continues long lines in the next row", () => {
  const long: Pager = { title: "log", lines: ["a", "0123456789", "日本語", "z"], top: 0 };
  assert.deepEqual(visible(long, 5), ["a", "01234", "56789", "日本"]);
  assert.deepEqual(visible({ ...long, top: undefined }, 5), ["56789", "日本", "語", "z"]);
  assert.deepEqual(visible({ title: "", lines: [], top: undefined }), []);
});

test("appendLines() drops the oldest lines, and keeps the text in place", () => {
  const full: Pager = {
    title: "",
    lines: Array.from({ length: mostLines }, (_, at) => String(at)),
    top: 100,
  };
  const more = appendLines(full, ["a", "b"]);
  assert.equal(more.lines.length, mostLines);
  assert.equal(more.lines[more.top ?? 0], "100");
  assert.equal(more.lines.at(-1), "b");
});

test("plainLine() and styledLine() leave no sequence of a container", () => {
  const hostile =
    "a\u001b[2J\u001b[5;5Hb\u001b]0;title\u0007c\u001b]8;;x\u001b\\d\u001bce\tf\u009b1m\r";
  assert.equal(plainLine(hostile), "abcde    f?1m?");
  assert.equal(plainLine("\u001b[31mred\u001b[0m"), "red");
  assert.equal(
    styledLine("\u001b[31mred\u001b[39m \u001b[8mhidden\u001b[?25l"),
    "\u001b[31mred\u001b[39m hidden",
  );
  assert.equal(stripVTControlCharacters(styledLine(hostile)), plainLine(hostile));
  assert.ok(plainLine("x".repeat(1e6)).length < 5_000);
});
