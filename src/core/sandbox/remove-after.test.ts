import assert from "node:assert/strict";
import { test } from "node:test";
import { checkRemoveAfter, removeAfterAnnotation, removedAfter } from "./remove-after.ts";

test("removedAfter() reads the name of a container, but not for kubelet, and never throws", () => {
  assert.equal(removedAfter({ annotations: {} }), undefined);
  assert.equal(removedAfter({ annotations: { [removeAfterAnnotation]: "main" } }), "main");
  const ofKubelet = { "kubernetes.io/config.source": "api" };
  const annotations = { [removeAfterAnnotation]: "main", ...ofKubelet };
  assert.equal(removedAfter({ annotations }), undefined);
  assert.equal(removedAfter({ annotations: { [removeAfterAnnotation]: "" } }), undefined);
});

test("checkRemoveAfter() refuses an annotation that names no container", () => {
  checkRemoveAfter({ annotations: {} });
  checkRemoveAfter({ annotations: { [removeAfterAnnotation]: "main" } });
  assert.throws(() => checkRemoveAfter({ annotations: { [removeAfterAnnotation]: "" } }), {
    kind: "invalid-argument",
  });
});
