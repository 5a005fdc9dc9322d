import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { Container, ContainerState } from "../../core/container/index.ts";
import { WriteBehindRecords } from "./write-behind.ts";

/** A disk that accepts writes while it is not full. */
function disk(): {
  full: boolean;
  readonly rows: Map<string, string>;
  readonly records: WriteBehindRecords;
} {
  const rows = new Map<string, string>();
  const self = { full: false, rows };
  const write = (run: () => void): void => {
    if (self.full) throw new Error("disk full");
    run();
  };
  const empty = { load: () => [], put: () => undefined, delete: () => undefined };
  const containers = {
    load: () => [],
    put: ({ id, state }: Container) => {
      write(() => rows.set(id, state.name));
    },
    delete: (id: string) => {
      write(() => rows.delete(id));
    },
  };
  const tables = { sandboxes: empty, attachments: empty, containers, images: empty };
  const records = new WriteBehindRecords(
    { ...tables, setAside: () => [], synced: () => Promise.resolve() },
    silentLogger,
  );
  return Object.assign(self, { records });
}

const container = (name: ContainerState["name"], id = "a"): Container =>
  ({ id, state: { name } }) as unknown as Container;

test("WriteBehindRecords refuses a new object on a full disk", () => {
  const it = disk();
  it.full = true;
  assert.throws(() => {
    it.records.containers.put(container("running"));
  }, /disk full/);
  assert.deepEqual(it.records.pendingWrites(), []);
});

test("WriteBehindRecords accepts an end on a full disk, and writes the newest state later", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const it = disk();
  it.records.containers.put(container("running"));
  it.records.containers.put(container("running", "b"));
  it.full = true;
  it.records.containers.put(container("exited"));
  it.records.containers.put(container("exited", "b"));
  it.records.containers.delete("a");
  assert.equal(it.rows.get("a"), "running");
  assert.deepEqual(it.records.pendingWrites(), ['container "a"', 'container "b"']);
  t.mock.timers.tick(60_000);
  assert.equal(it.rows.get("a"), "running");
  it.full = false;
  t.mock.timers.tick(5_000);
  assert.deepEqual([...it.rows], [["b", "exited"]]);
  assert.deepEqual(it.records.pendingWrites(), []);
});

test("WriteBehindRecords drops a pending write when a newer one of the record succeeds", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const it = disk();
  it.records.containers.put(container("running"));
  it.full = true;
  it.records.containers.put(container("exited"));
  it.full = false;
  it.records.containers.delete("a");
  t.mock.timers.tick(60_000);
  assert.deepEqual([...it.rows], []);
});

test("WriteBehindRecords retries a last time when it is disposed", () => {
  const it = disk();
  it.records.containers.put(container("running"));
  it.full = true;
  it.records.containers.put(container("exited"));
  it.full = false;
  it.records[Symbol.dispose]();
  assert.equal(it.rows.get("a"), "exited");
});
