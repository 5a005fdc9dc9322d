import assert from "node:assert/strict";
import { test } from "node:test";
import { type Container, ContainerStore } from "../../core/container/index.ts";
import { type ContainerFilter, listContainers } from "./list.ts";

const store = new ContainerStore({ put: () => undefined, delete: () => undefined });
for (const [id, sandboxId, state, app] of [
  ["c1a", "p1", "running", "web"],
  ["c1b", "p1", "creating", "db"],
  ["c2a", "p2", "exited", "web"],
] as const) {
  const config = { labels: { app } };
  store.add({ id, name: id, sandboxId, config, state: { name: state } } as unknown as Container);
  store.list(id);
}

const found = (filter: ContainerFilter): readonly string[] =>
  listContainers({ store }, filter).map(({ id }) => id);

test("listContainers() filters by prefixes of ids, states and labels, all of them", () => {
  assert.deepEqual(found({}), ["c1a", "c1b", "c2a"]);
  assert.deepEqual(found({ id: "c1" }), ["c1a", "c1b"]);
  assert.deepEqual(found({ id: "1a" }), [], "an id does not match in its middle");
  assert.deepEqual(found({ sandboxId: "p2" }), ["c2a"]);
  assert.deepEqual(found({ states: ["creating", "created"] }), ["c1b"]);
  assert.deepEqual(found({ states: [] }), []);
  assert.deepEqual(found({ labels: { app: "web" } }), ["c1a", "c2a"]);
  assert.deepEqual(found({ labels: { app: "web", tier: "" } }), [], "a missing label has no value");
  assert.deepEqual(found({ id: "c", sandboxId: "p1", labels: { app: "db" } }), ["c1b"]);
});
