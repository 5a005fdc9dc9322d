import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyParser } from "./keys.ts";

/** The keys of chunks, as their names or their text. */
function keys(...chunks: readonly string[]): readonly string[] {
  const parser = new KeyParser();
  const all = chunks.flatMap((chunk) => [...parser.take(Buffer.from(chunk, "latin1"))]);
  return [...all, ...parser.flush()].map((key) => (key.name === "text" ? key.text : key.name));
}

test("KeyParser knows the sequences of terminals", () => {
  assert.deepEqual(keys("\u001b[A\u001bOB\u001b[5~\u001b[6~\u001b[H\u001b[4~"), [
    "up",
    "down",
    "page-up",
    "page-down",
    "home",
    "end",
  ]);
  assert.deepEqual(keys("q\r\t\u007f\u0003\u001a"), [
    "q",
    "enter",
    "tab",
    "backspace",
    "ctrl-c",
    "ctrl-z",
  ]);
});

test("KeyParser joins sequences and characters that come in parts, wherever they are split", () => {
  const bytes = Buffer.from("x\u001b[A\u001b[6~日y").toString("latin1");
  for (let at = 0; at <= bytes.length; at += 1) {
    const split = keys(bytes.slice(0, at), bytes.slice(at));
    assert.deepEqual(split, ["x", "up", "page-down", "日", "y"], String(at));
  }
  assert.deepEqual(keys(...Array.from(bytes)), ["x", "up", "page-down", "日", "y"]);
});

test("KeyParser takes a single ESC for Escape when nothing follows", () => {
  const parser = new KeyParser();
  assert.deepEqual(parser.take(Buffer.from("\u001b")), []);
  assert.equal(parser.pending, true);
  assert.deepEqual(parser.flush(), [{ name: "escape" }]);
  assert.equal(parser.pending, false);
  assert.deepEqual(parser.flush(), []);
  assert.deepEqual(keys("\u001bq"), ["escape", "q"]);
  assert.deepEqual(keys("\u001b\u001b[A"), ["escape", "up"]);
});

test("KeyParser drops sequences that are not keys, and other control characters", () => {
  assert.deepEqual(keys("\u001b[<0;10;20Ma\u001b[200~b\u001b[1;5Ac\u0001\u009b"), [
    "a",
    "b",
    "c",
    "�",
  ]);
  const endless = `\u001b[${"1;".repeat(500)}A`;
  assert.deepEqual(
    keys(endless.slice(0, -1), "1;1yq"),
    ["q"],
    "a long sequence is dropped as a whole",
  );
  assert.deepEqual(keys("\u001b[?2026;2$yq\u001b[1\u0001yq\u001b[?1;\u001b[A"), [
    "q",
    "y",
    "q",
    "up",
  ]);
});

test("KeyParser drops replies of the terminal and reports of the mouse, wherever they are split", () => {
  const hostile = [
    "\u001b]11;rgb:xy/xy/xy\u0007",
    "\u001b]52;c;eHk=\u001b\\",
    "\u001bP>|xy(1)\u001b\\",
    "\u001b_Gi=1;xy\u001b\\",
    "\u001b^xy\u001b\\",
    "\u001bXx\u001by\u001b\\",
    "\u001b[Mxyx",
    "\u001b[M\u00e9 y",
    "\u001b[?64;1;2;6;9;15;16;17;18;21;22;28c",
    "\u001b[?2026;2$y",
    "\u001b[<35;10;20M\u001b[I\u001b[O",
  ].join("");
  const text = Buffer.from(`j${hostile}k`).toString("latin1");
  for (let at = 0; at <= text.length; at += 1) {
    assert.deepEqual(keys(text.slice(0, at), text.slice(at)), ["j", "k"], String(at));
  }
  assert.deepEqual(keys(...Array.from(text)), ["j", "k"]);
  const parts = Array.from({ length: 1000 }, () => "xy".repeat(1000));
  assert.deepEqual(keys("\u001b]52;c;", ...parts, "\u0007q"), ["q"], "of any length");
});

test("KeyParser gives up a string that has no end when nothing follows", () => {
  const parser = new KeyParser();
  assert.deepEqual(parser.take(Buffer.from("\u001b]xy")), []);
  assert.deepEqual([parser.pending, parser.isInSequence], [true, true]);
  assert.deepEqual(parser.flush(), []);
  assert.equal(parser.pending, false);
  assert.deepEqual(parser.take(Buffer.from("q")), [{ name: "text", text: "q" }]);
  parser.take(Buffer.from("\u001b[Mx"));
  assert.deepEqual(parser.flush(), []);
});
