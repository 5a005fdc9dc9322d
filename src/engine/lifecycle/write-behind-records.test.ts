import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { Container, ContainerState } from "../../core/container/index.ts";
import { FakeRecords } from "../testing/fake-records.ts";
import { WriteBehindRecords } from "./write-behind-records.ts";

/** A disk that can be full. */
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

test("WriteBehindRecords rejects new objects on a full disk", () => {
  const it = disk();
  it.full = true;
  assert.throws(() => {
    it.late.putContainer(container("running"));
  }, /disk full/);
  assert.deepEqual(it.late.pendingWrites(), []);
});

test("WriteBehindRecords accepts a terminal state on a full disk, and writes the newest one later", (t) => {
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

test("WriteBehindRecords forgets a pending write when a newer one of the same record succeeds", (t) => {
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

test("WriteBehindRecords tries pending writes a last time when it is disposed of", () => {
  const it = disk();
  it.late.putContainer(container("running"));
  it.full = true;
  it.late.putContainer(container("exited"));
  it.full = false;
  it.late[Symbol.dispose]();
  assert.equal(it.rows.get("a"), "exited");
});

test("WriteBehindRecords rejects new objects and accepts terminal states of every kind of record", () => {
  const records = new FakeRecords();
  const late = new WriteBehindRecords(records, silentLogger);
  const sandbox = (name: string): never => ({ id: "s", state: { name } }) as never;
  const attachment = (removal: object | undefined): never => ({ sandboxId: "s", removal }) as never;
  const begins: readonly (() => void)[] = [
    () => late.putSandbox(sandbox("creating")),
    () => late.putSandbox(sandbox("ready")),
    () => late.putContainer(container("created")),
    () => late.putAttachment(attachment(undefined)),
    () => late.putImage({ id: "i" } as never),
  ];
  const ends: readonly (() => void)[] = [
    () => late.putSandbox(sandbox("dead")),
    () => late.putSandbox(sandbox("stopped")),
    () => late.deleteSandbox("s"),
    () => late.deleteContainer("a"),
    () => late.putAttachment(attachment({})),
    () => late.deleteAttachment("s"),
    () => late.deleteImage("i" as never),
  ];
  for (const write of begins) write();
  const count = () => [
    late.loadSandboxes().length,
    late.loadContainers().length,
    late.loadAttachments().length,
    late.loadImages().length,
  ];
  assert.deepEqual(count(), [1, 1, 1, 1]);
  records.full = true;
  for (const write of begins) assert.throws(write, /disk is full/);
  for (const write of ends) write();
  assert.deepEqual(late.pendingWrites().toSorted(), [
    'container "a"',
    'image "i"',
    'network of sandbox "s"',
    'sandbox "s"',
  ]);
  records.full = false;
  late[Symbol.dispose]();
  assert.deepEqual([count(), late.pendingWrites()], [[0, 0, 0, 0], []]);
  records.sandboxes.set("s", sandbox("ready"));
  late.setAsideSandbox("s", "broken");
  assert.deepEqual(late.setAside(), [{ kind: "sandbox", id: "s", reason: "broken" }]);
});
