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
  assert.equal(keys(endless)[0], "escape", "a sequence without an end is not held forever");
});
