import assert from "node:assert/strict";
import { test } from "node:test";
import { stripVTControlCharacters } from "node:util";
import { narrowestCell, wrapCell, wrapLines, wrapWords } from "./wrap.ts";

test("wrapWords() wraps at spaces and fills each line", () => {
  assert.deepEqual(wrapWords("one two three four", 9), ["one two", "three", "four"]);
  assert.deepEqual(wrapWords("one two three", 13), ["one two three"]);
  assert.deepEqual(wrapWords("a  b", 10), ["a  b"]);
});

test("wrapWords() does not break a long word, and returns a line for an empty text", () => {
  assert.deepEqual(wrapWords("see /a/very/long/path now", 8), ["see", "/a/very/long/path", "now"]);
  assert.deepEqual(wrapWords("", 8), [""]);
  assert.deepEqual(wrapWords("x y", Number.POSITIVE_INFINITY), ["x y"]);
});

test("wrapLines() wraps at spaces, and indents continuation lines to the text", () => {
  const text = [
    "  error    no .conflist in /etc/cni/net.d  network.none",
    "           without a network the node is not ready",
    "Socket   unix:///run/davit/davit.sock",
    "short",
    "",
  ].join("\n");
  assert.equal(
    wrapLines(text, 30),
    [
      "  error    no .conflist in",
      "           /etc/cni/net.d",
      "           network.none",
      "           without a network",
      "           the node is not",
      "           ready",
      "Socket",
      "         unix:///run/davit/davit.sock",
      "short",
      "",
    ].join("\n"),
  );
  assert.equal(wrapLines(text, undefined), text, "a pipe gets whole lines");
});

test("wrapLines() ignores and keeps escape sequences", () => {
  const red = "  \u001b[31merror\u001b[39m    one two three";
  assert.equal(wrapLines(red, 24), red);
  const wrapped = wrapLines(red, 23);
  assert.ok(wrapped.includes("\u001b[31merror\u001b[39m"));
  assert.equal(stripVTControlCharacters(wrapped), "  error    one two\n           three");
});

test("wrapLines() does not indent to the text after a long label", () => {
  assert.equal(
    wrapLines("  --a-long-option NAME   what it does", 24),
    "  --a-long-option NAME\n  what it does",
  );
});

test("wrapCell() wraps at spaces and after slashes only", () => {
  assert.deepEqual(wrapCell("docker.io/library/busybox:1.37", 18), [
    "docker.io/library/",
    "busybox:1.37",
  ]);
  assert.deepEqual(wrapCell("5 min ago", 5), ["5 min", "ago"]);
  assert.deepEqual(wrapCell("0123456789", 4), ["0123456789"]);
  assert.deepEqual(wrapCell("", 4), [""]);
  assert.equal(narrowestCell("docker.io/library/busybox:1.37"), 12);
});
