import assert from "node:assert/strict";
import { test } from "node:test";
import { withoutCaptures } from "./restorable.ts";

test("withoutCaptures() names the shim of a handler, and what to use", () => {
  const handler = { requested: "", name: "kata", controller: "shim" };
  assert.match(
    withoutCaptures({ ...handler, runtimeType: "io.containerd.runc.v2" }),
    /handler "kata" runs containers by the shim "io.containerd.runc.v2".* use a handler with a path/,
  );
  assert.match(withoutCaptures(handler), /the runtime of handler "kata" cannot do it/);
});
