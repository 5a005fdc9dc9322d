import assert from "node:assert/strict";
import { test } from "node:test";
import { type Sandbox, SandboxStore } from "../../core/sandbox/index.ts";
import { listPodSandboxes, type SandboxFilter } from "./list.ts";

const store = new SandboxStore({ put: () => undefined, delete: () => undefined });
for (const [id, state, app] of [
  ["p1", "ready", "web"],
  ["p2", "dead", "web"],
  ["p3", "stopped", "db"],
] as const) {
  const config = { labels: { app } };
  store.add({ id, name: id, config, state: { name: state } } as unknown as Sandbox);
  store.list(id);
}

const found = (filter: SandboxFilter): readonly string[] =>
  listPodSandboxes({ store }, filter).map(({ id }) => id);

test("listPodSandboxes() filters by a prefix of the id, readiness and labels, all of them", () => {
  assert.deepEqual(found({}), ["p1", "p2", "p3"]);
  assert.deepEqual(found({ id: "p2" }), ["p2"]);
  assert.deepEqual(found({ id: "2" }), [], "an id does not match in its middle");
  assert.deepEqual(found({ ready: true }), ["p1"]);
  assert.deepEqual(found({ ready: false }), ["p2", "p3"]);
  assert.deepEqual(found({ ready: false, labels: { app: "web" } }), ["p2"]);
});
