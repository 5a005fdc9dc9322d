import assert from "node:assert/strict";
import { test } from "node:test";
import { allowedAnnotations } from "./allow-list.ts";

const keys = (patterns: readonly string[], ...all: readonly string[]): readonly string[] =>
  Object.keys(allowedAnnotations(Object.fromEntries(all.map((key) => [key, "v"])), patterns));

test("allowedAnnotations() lets through what a pattern matches, and nothing without one", () => {
  const all = ["io.kata.one", "io.kata.two", "io.katas", "example.org/a", "example.org/b/c"];
  assert.deepEqual(keys([], ...all), []);
  assert.deepEqual(keys(["io.kata.*"], ...all), ["io.kata.one", "io.kata.two"]);
  assert.deepEqual(keys(["example.org/*"], ...all), ["example.org/a"]);
  assert.deepEqual(keys(["*"], ...all), ["io.kata.one", "io.kata.two", "io.katas"]);
  assert.deepEqual(keys(["io.kata?", "example.org/a"], ...all), ["io.katas", "example.org/a"]);
});

test("allowedAnnotations() accepts sets and escaped characters", () => {
  assert.deepEqual(keys(["a[bc]d"], "abd", "acd", "aed"), ["abd", "acd"]);
  assert.deepEqual(keys(["a[^bc]d"], "abd", "aed"), ["aed"]);
  assert.deepEqual(keys(["a.b"], "a.b", "axb"), ["a.b"]);
  assert.deepEqual(keys(["a\\*b"], "a*b", "axb"), ["a*b"]);
  assert.deepEqual(keys(["a(b"], "a(b"), ["a(b"]);
  assert.deepEqual(keys(["a[b"], "a[b", "ab"), ["a[b"]);
});

test("allowedAnnotations() finds a way through several stars and sets, and takes ranges", () => {
  assert.deepEqual(keys(["*[^a]*b"], "q/ab", "q/a", "/b"), ["q/ab", "/b"]);
  assert.deepEqual(keys(["*a*/*b"], "xaya/zb", "a/b", "xy/b", "aa/b/b"), ["xaya/zb", "a/b"]);
  assert.deepEqual(keys(["x[a-c-]y"], "xby", "x-y", "xdy"), ["xby", "x-y"]);
  assert.deepEqual(keys(["**", "a\\?b"], "", "a?b", "a/b"), ["", "a?b"]);
});

test("allowedAnnotations() is as fast for keys that are made for a pattern", () => {
  // A regular expression would need about 300^12 steps.
  assert.deepEqual(keys(["*a*a*a*a*a*a*a*a*a*a*a*a*b"], "a".repeat(300)), []);
});
