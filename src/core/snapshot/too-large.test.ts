import assert from "node:assert/strict";
import { test } from "node:test";
import { RuntimeError, wrap } from "../../base/errors.ts";
import { isTooLarge, TooLarge } from "./too-large.ts";

test("isTooLarge() finds the error through those that wrap it, and takes no other of its kind for it", () => {
  const error = new TooLarge("it has 501 layers");
  assert.equal(error.kind, "failed-precondition");
  assert.ok(isTooLarge(error) && isTooLarge(wrap("pull image", wrap("unpack layer", error))));
  const ofRegistry = new RuntimeError("failed-precondition", "answered 418");
  assert.ok(!isTooLarge(ofRegistry) && !isTooLarge(wrap("fetch blob", ofRegistry)));
  assert.ok(!isTooLarge("text") && !isTooLarge(undefined));
});
