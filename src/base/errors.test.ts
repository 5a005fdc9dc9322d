import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { isKind, kindOf, messageOf, RuntimeError, wrap } from "./errors.ts";

describe("kindOf()", () => {
  test("knows RuntimeErrors, their subclasses, and the errors of AbortSignals", async () => {
    class Sub extends RuntimeError {}
    assert.equal(kindOf(new RuntimeError("not-found", "x")), "not-found");
    assert.equal(kindOf(new Sub("aborted", "x")), "aborted");
    assert.equal(kindOf(AbortSignal.abort().reason), "canceled");
    const aborted = sleep(1_000, undefined, { signal: AbortSignal.abort() });
    assert.equal(await aborted.catch(kindOf), "canceled");
    assert.equal(kindOf(new DOMException("late", "TimeoutError")), "deadline-exceeded");
  });

  test("is unknown for everything else", () => {
    for (const thrown of [
      new Error("x"),
      new TypeError("x"),
      "text",
      undefined,
      null,
      { kind: "internal" },
    ]) {
      assert.equal(kindOf(thrown), "unknown");
    }
  });
});

describe("wrap()", () => {
  test("adds the action and keeps kind and cause", () => {
    const cause = new RuntimeError("resource-exhausted", "write: no space");
    const error = wrap('run "a"', wrap("write the record", cause));
    assert.equal(error.message, 'run "a": write the record: write: no space');
    assert.equal(error.kind, "resource-exhausted");
    assert.equal((error.cause as Error).cause, cause);
    assert.equal(error.name, "RuntimeError");
  });

  test("accepts any thrown value", () => {
    assert.equal(wrap("parse", "text").message, "parse: text");
    assert.equal(wrap("parse", undefined).kind, "unknown");
  });
});

test("isKind() and messageOf() accept any thrown value", () => {
  assert.equal(isKind(new RuntimeError("not-found", "x"), "not-found"), true);
  assert.equal(isKind(new RuntimeError("not-found", "x"), "internal"), false);
  assert.equal(isKind("not-found", "not-found"), false);
  assert.equal(messageOf(new Error("m")), "m");
  assert.equal(messageOf(5), "5");
});
