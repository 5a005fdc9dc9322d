import assert from "node:assert/strict";
import { test } from "node:test";
import { formatRoute, parseRoute, type Route } from "./route.ts";

test("a route survives its fragment", () => {
  const routes: readonly Route[] = [
    { view: "timeline", pod: "", tab: "timeline" },
    { view: "pods", pod: "0a1b", tab: "logs" },
  ];
  for (const route of routes) assert.deepEqual(parseRoute(formatRoute(route)), route);
});

test("parseRoute() falls back to the timeline", () => {
  const none = { view: "timeline", pod: "", tab: "timeline" };
  for (const fragment of ["", "#", "#nope", "#timeline/<script>/nope"]) {
    assert.deepEqual(parseRoute(fragment), none, fragment);
  }
});
