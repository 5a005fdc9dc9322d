import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BoundHandler } from "../../../core/handler/index.ts";
import { ShimCaptures } from "./captures.ts";

const captures = new ShimCaptures({} as ConstructorParameters<typeof ShimCaptures>[0]);
const handlerOf = (more: Partial<BoundHandler>): BoundHandler => ({
  requested: "",
  name: "h",
  controller: "podsandbox",
  runtimeType: "io.containerd.runc.v2",
  ...more,
});

describe("ShimCaptures.obstacle()", () => {
  test("is nothing for a capture by runc's shim, and refuses a restore", () => {
    for (const BinaryName of ["runc", "/usr/bin/crun"]) {
      const handler = handlerOf({ options: { BinaryName } });
      assert.equal(captures.obstacle(handler, "capture"), undefined);
      const message = captures.obstacle(handler, "restore") ?? "";
      assert.match(message, /^handler "h" runs containers by the shim "io\.containerd\.runc\.v2"/);
      assert.match(message, /run before davit has checked them; use a handler with a path/);
    }
  });

  test("names other shims, and the sandboxes that a shim has made", () => {
    for (const [more, reason] of [
      [{ runtimeType: "io.containerd.kata.v2" }, /captures containers of runc's shim only; use a/],
      [
        { controller: "shim" },
        /with controller = "shim", whose containers davit does not .*; use a/,
      ],
    ] as const) {
      for (const use of ["capture", "restore"] as const) {
        assert.match(captures.obstacle(handlerOf(more), use) ?? "", reason);
      }
    }
  });
});
