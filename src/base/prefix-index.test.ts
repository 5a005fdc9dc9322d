import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "./errors.ts";
import { PrefixIndex } from "./prefix-index.ts";

describe("PrefixIndex", () => {
  const index = new PrefixIndex("sandbox");
  for (const id of ["abc123", "abd456", "abc", "f00"]) index.add(id);

  test("finds by the whole id and by a unique prefix", () => {
    assert.equal(index.find("abc123"), "abc123");
    assert.equal(index.find("abc1"), "abc123");
    assert.equal(index.find("f"), "f00");
  });

  test("prefers an exact id to longer ones", () => {
    assert.equal(index.find("abc"), "abc");
  });

  test("finds nothing for a text that is not a prefix", () => {
    for (const text of ["x", "bc", "abc1234", "ABC"]) assert.equal(index.find(text), undefined);
  });

  test("rejects an ambiguous prefix and names two of the ids", () => {
    assert.throws(
      () => index.find("ab"),
      (error) =>
        isKind(error, "invalid-argument") &&
        /find sandbox "ab": several ids begin with it \(abc123, abd456\)/.test(String(error)),
    );
  });

  test("rejects the empty text, even when there is only one id", () => {
    const single = new PrefixIndex("container");
    single.add("a");
    assert.throws(() => single.find(""), /find container: the id is empty/);
  });

  test("forgets deleted ids: a prefix is unique again", () => {
    const changing = new PrefixIndex("sandbox");
    for (const id of ["aa", "ab", "ab"]) changing.add(id);
    assert.throws(() => changing.find("a"), /several/);
    changing.delete("aa");
    changing.delete("never-there");
    assert.equal(changing.find("a"), "ab");
    changing.delete("ab");
    assert.equal(changing.find("a"), undefined);
  });
});
