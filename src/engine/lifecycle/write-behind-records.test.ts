import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { Container, ContainerState } from "../../core/container/index.ts";
import { WriteBehindRecords } from "./write-behind-records.ts";

/** A disk that takes what is written while it is not full. */
function disk(): {
  full: boolean;
  readonly rows: Map<string, string>;
  readonly late: WriteBehindRecords;
} {
  const rows = new Map<string, string>();
  const self = { full: false, rows };
  const write = (run: () => void): void => {
    if (self.full) throw new Error("disk full");
    run();
  };
  const records = {
    putContainer: ({ id, state }: Container) => {
      write(() => rows.set(id, state.name));
    },
    deleteContainer: (id: string) => {
      write(() => rows.delete(id));
    },
  };
  const late = new WriteBehindRecords(
    records as unknown as ConstructorParameters<typeof WriteBehindRecords>[0],
    silentLogger,
  );
  return Object.assign(self, { late });
}

const container = (name: ContainerState["name"], id = "a"): Container =>
  ({ id, state: { name } }) as unknown as Container;

test("LateRecords refuses what is new on a full disk", () => {
  const it = disk();
  it.full = true;
  assert.throws(() => {
    it.late.putContainer(container("running"));
  }, /disk full/);
  assert.deepEqual(it.late.pendingWrites(), []);
});

test("LateRecords takes an end on a full disk, and writes the newest of it when there is room", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const it = disk();
  it.late.putContainer(container("running"));
  it.late.putContainer(container("running", "b"));
  it.full = true;
  it.late.putContainer(container("exited"));
  it.late.putContainer(container("exited", "b"));
  it.late.deleteContainer("a");
  assert.equal(it.rows.get("a"), "running");
  assert.deepEqual(it.late.pendingWrites(), ['container "a"', 'container "b"']);
  t.mock.timers.tick(60_000);
  assert.equal(it.rows.get("a"), "running");
  it.full = false;
  t.mock.timers.tick(5_000);
  assert.deepEqual([...it.rows], [["b", "exited"]]);
  assert.deepEqual(it.late.pendingWrites(), []);
});

test("LateRecords forgets what it owes when the same record can be written again", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const it = disk();
  it.late.putContainer(container("running"));
  it.full = true;
  it.late.putContainer(container("exited"));
  it.full = false;
  it.late.deleteContainer("a");
  t.mock.timers.tick(60_000);
  assert.deepEqual([...it.rows], []);
});

test("LateRecords tries a last time when it ends", () => {
  const it = disk();
  it.late.putContainer(container("running"));
  it.full = true;
  it.late.putContainer(container("exited"));
  it.full = false;
  it.late[Symbol.dispose]();
  assert.equal(it.rows.get("a"), "exited");
});
