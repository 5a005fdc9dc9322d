import assert from "node:assert/strict";
import { test } from "node:test";
import { removeAfterAnnotation, removedAfter } from "./remove-after.ts";

test("removedAfter() reads the name of a container, and refuses an empty one", () => {
  assert.equal(removedAfter({ annotations: {} }), undefined);
  assert.equal(removedAfter({ annotations: { [removeAfterAnnotation]: "main" } }), "main");
  assert.throws(() => removedAfter({ annotations: { [removeAfterAnnotation]: "" } }), {
    kind: "invalid-argument",
  });
});
