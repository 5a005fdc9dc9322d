import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { silentLogger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { LateSync, readMark } from "./late-sync.ts";

/** Longer than any test: only a hurry or the end of the daemon ends it. */
const never = 3_600_000;

let root: string;
let disk: Disk;
beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "davit-late-"));
  disk = new Disk();
});
afterEach(async () => {
  for (const sync of disk.running) sync.resolve(undefined);
  await disk.tasks[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

/** A disk whose syncs end when the test says so. */
class Disk {
  readonly running: PromiseWithResolvers<undefined>[] = [];
  readonly tasks = new TaskGroup(silentLogger);
  readonly errors: string[] = [];
  readonly warnings: string[] = [];
  open = 0;

  late(delayMs: number): LateSync {
    return new LateSync({
      directory: root,
      bootId: "this boot",
      tasks: this.tasks,
      log: {
        ...silentLogger,
        error: (text) => this.errors.push(text),
        warn: (text) => this.warnings.push(text),
      },
      delayMs,
      open: () => {
        this.open++;
        return {
          sync: () => {
            const sync = Promise.withResolvers<undefined>();
            this.running.push(sync);
            return sync.promise;
          },
          [Symbol.dispose]: () => {
            this.open--;
          },
        };
      },
    });
  }

  async untilRunning(count: number): Promise<void> {
    while (this.running.length < count) await sleep(1);
  }
}

/** Makes a directory as a pull does, and publishes it. */
async function publish(late: LateSync, name: string): Promise<string> {
  const directory = path.join(root, name);
  const aside = path.join(root, `.new-${name}`);
  using writer = late.begin();
  mkdirSync(aside);
  await writer.mark(aside);
  renameSync(aside, directory);
  writer.publish(directory);
  return directory;
}

test("a directory has a mark of this boot until the disk is synced", async () => {
  const late = disk.late(0);
  const directory = await publish(late, "one");
  assert.equal((await readMark(directory))?.bootId, "this boot");
  await disk.untilRunning(1);
  assert.equal((await readMark(directory))?.bootId, "this boot");
  const synced = late.synced();
  disk.running[0]?.resolve(undefined);
  await synced;
  assert.equal(await readMark(directory), undefined);
  assert.equal(disk.open, 0);
});

test("synced() does not wait for the delay, and those published before it share one sync", async () => {
  const late = disk.late(never);
  const both = [await publish(late, "one"), await publish(late, "two")];
  const synced = late.synced();
  await disk.untilRunning(1);
  disk.running[0]?.resolve(undefined);
  await synced;
  for (const each of both) assert.equal(await readMark(each), undefined);
  assert.equal(disk.running.length, 1);
  await late.synced();
});

test("what is published while a sync runs waits for the next one", async () => {
  const late = disk.late(0);
  const one = await publish(late, "one");
  await disk.untilRunning(1);
  const two = await publish(late, "two");
  const synced = late.synced();
  disk.running[0]?.resolve(undefined);
  await disk.untilRunning(2);
  assert.equal(await readMark(one), undefined);
  assert.equal((await readMark(two))?.bootId, "this boot");
  disk.running[1]?.resolve(undefined);
  await synced;
  assert.equal(await readMark(two), undefined);
});

test("a failed sync fails all that have written before, is reported, and leaves the marks", async () => {
  const late = disk.late(0);
  const writing = late.begin();
  const one = await publish(late, "one");
  await disk.untilRunning(1);
  const synced = assert.rejects(late.synced(), /EIO/);
  disk.running[0]?.reject(new Error("EIO"));
  await synced;
  assert.equal((await readMark(one))?.bootId, "this boot");
  assert.equal(late.failureOf(one), "EIO");
  assert.match(disk.errors.join(), /one" could not be written to the disk.*EIO.*images check/);
  // Its files were written before the failure, too.
  const two = path.join(root, "two");
  mkdirSync(two);
  await writing.mark(two);
  writing.publish(two);
  const again = assert.rejects(late.synced(), /EIO/);
  await disk.untilRunning(2);
  disk.running[1]?.resolve(undefined);
  await again;
  assert.equal((await readMark(two))?.bootId, "this boot");
  const three = await publish(late, "three");
  const last = late.synced();
  await disk.untilRunning(3);
  disk.running[2]?.resolve(undefined);
  await last;
  assert.equal(await readMark(three), undefined);
  assert.equal(late.failureOf(three), undefined);
});

test("a later daemon of the same boot knows of a failed sync, and leaves the mark", async () => {
  const former = disk.late(0);
  const one = await publish(former, "one");
  await disk.untilRunning(1);
  const failed = assert.rejects(former.synced(), /EIO/);
  disk.running[0]?.reject(new Error("EIO: i/o error"));
  await failed;
  const mark = await readMark(one);
  assert.deepEqual(mark, { bootId: "this boot", failure: "EIO: i/o error" });
  const late = disk.late(0);
  late.resume(one, mark);
  assert.equal(late.failureOf(one), "EIO: i/o error");
  assert.equal(late.isMarked(one), true);
  await late.synced();
  assert.deepEqual(await readMark(one), mark);
  await late.forget(one);
  assert.equal(late.failureOf(one), undefined);
});

test("a later daemon of the same boot syncs what has a mark without a failure", async () => {
  const one = path.join(root, "one");
  mkdirSync(one);
  using former = disk.late(never).begin();
  await former.mark(one);
  const mark = await readMark(one);
  assert.ok(mark);
  const late = disk.late(never);
  late.resume(one, mark);
  assert.equal(late.isMarked(one), true);
  const synced = late.synced();
  await disk.untilRunning(1);
  disk.running[0]?.resolve(undefined);
  await synced;
  assert.equal(await readMark(one), undefined);
  assert.equal(late.isMarked(one), false);
});

test("a mark that cannot be removed does not say that the files are damaged", async () => {
  const late = disk.late(0);
  const one = await publish(late, "one");
  rmSync(path.join(one, "unsynced"));
  mkdirSync(path.join(one, "unsynced"));
  await disk.untilRunning(1);
  const failed = assert.rejects(late.synced());
  disk.running[0]?.resolve(undefined);
  await failed;
  assert.equal(late.failureOf(one), undefined);
  assert.deepEqual(disk.errors, []);
  assert.match(disk.warnings.join(), /one" is on the disk, but its mark cannot be removed/);
});

test("a mark without content is of no boot", async () => {
  writeFileSync(path.join(root, "unsynced"), "");
  assert.equal((await readMark(root))?.bootId, "");
});

test("a directory that is forgotten keeps its mark: its name is that of another one", async () => {
  const late = disk.late(0);
  const one = await publish(late, "one");
  await disk.untilRunning(1);
  await late.forget(one);
  const synced = late.synced();
  disk.running[0]?.resolve(undefined);
  await synced;
  assert.equal((await readMark(one))?.bootId, "this boot");
});

test("the end of the daemon does not wait for the delay", async () => {
  const late = disk.late(never);
  const directory = await publish(late, "one");
  const ended = disk.tasks[Symbol.asyncDispose]();
  await disk.untilRunning(1);
  disk.running[0]?.resolve(undefined);
  await ended;
  assert.equal(await readMark(directory), undefined);
});

test("a writer that publishes nothing closes its descriptor", () => {
  const late = disk.late(0);
  const [first, second] = [late.begin(), late.begin()];
  assert.equal(disk.open, 1);
  first[Symbol.dispose]();
  first[Symbol.dispose]();
  assert.equal(disk.open, 1);
  second[Symbol.dispose]();
  assert.equal(disk.open, 0);
});

test("on a real file system the mark is gone once it is synced", async () => {
  const log = silentLogger;
  const late = new LateSync({ directory: root, bootId: "b", tasks: disk.tasks, log, delayMs: 0 });
  const directory = await publish(late, "one");
  await late.synced();
  assert.equal(existsSync(path.join(directory, "unsynced")), false);
});
