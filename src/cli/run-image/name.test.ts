import assert from "node:assert/strict";
import { test } from "node:test";
import { baseName, freeName } from "./name.ts";

test("baseName() and freeName() make pod names of images", () => {
  for (const [image, name] of [
    ["nginx", "nginx"],
    ["docker.io/library/nginx:1.27", "nginx"],
    ["localhost:5000/My_App@sha256:00", "my-app"],
    ["x/---", "container"],
    [`a/${"b".repeat(80)}`, "b".repeat(40)],
  ] as const) {
    assert.equal(baseName(image), name, image);
  }
  let calls = 0;
  const random = (): number => Math.floor(calls++ / 4);
  assert.equal(
    freeName("nginx", (name) => name === "nginx-bbbb", random),
    "nginx-cccc",
  );
});
