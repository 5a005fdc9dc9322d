import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { KeyReader } from "./key-reader.ts";
import type { Key } from "./keys.ts";

function nameOf(key: Key): string {
  return key.name === "text" ? key.text : key.name;
}

describe("KeyReader", () => {
  beforeEach(() => mock.timers.enable({ apis: ["setTimeout", "setImmediate"] }));
  afterEach(() => mock.timers.reset());

  test("drops the keys of the time after a shell, and replies that end after it", () => {
    const got: string[] = [];
    const reader = new KeyReader((key) => {
      got.push(nameOf(key));
      return false;
    });
    reader.dropFor(100);
    reader.read(Buffer.from("xy\u001b[?64;1;2c"));
    mock.timers.tick(99);
    reader.read(Buffer.from("y\u001b]11;rgb:xy"));
    mock.timers.tick(2);
    reader.read(Buffer.from("xy\u0007a"));
    assert.deepEqual(got, ["a"]);
    reader.read(Buffer.from("b"));
    assert.deepEqual(got, ["a", "b"]);
  });

  test("drops what comes together with a key that asks a question", () => {
    const got: string[] = [];
    const reader = new KeyReader((key) => {
      got.push(nameOf(key));
      return nameOf(key) === "x";
    });
    reader.read(Buffer.from("jxyY"));
    mock.timers.tick(99);
    reader.read(Buffer.from("y"));
    assert.deepEqual(got, ["j", "x"]);
    mock.timers.tick(2);
    reader.read(Buffer.from("y"));
    assert.deepEqual(got, ["j", "x", "y"]);
  });

  test("waits longer for the rest of a reply than for that of a key", () => {
    const got: string[] = [];
    const reader = new KeyReader((key) => {
      got.push(nameOf(key));
      return false;
    });
    reader.read(Buffer.from("\u001b[?2026;2$"));
    mock.timers.tick(400);
    reader.read(Buffer.from("y\u001b"));
    mock.timers.tick(60);
    assert.deepEqual(got, ["escape"]);
    reader.read(Buffer.from("\u001b]11;"));
    mock.timers.tick(500);
    reader.read(Buffer.from("q"));
    assert.deepEqual(got, ["escape", "q"], "a string without an end does not swallow all keys");
    reader.read(Buffer.from("\u001b[M"));
    reader.stop();
    reader.read(Buffer.from("q"));
    assert.deepEqual(got, ["escape", "q", "q"]);
  });
});
