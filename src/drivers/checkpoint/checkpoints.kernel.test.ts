/** The files of checkpoints on a real overlay: what is written, and that what is opened is the same. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setImmediate } from "node:timers/promises";
import type { Digest } from "../../base/digest.ts";
import { TestCheckpoints } from "../../../test/support/test-checkpoints.ts";

const never = new AbortController().signal;
const trusted = { trust: "own", hold: (): void => undefined } as const;
const own = { containerId: "new", ...trusted };
let fixture: TestCheckpoints;

beforeEach(async () => {
  fixture = await TestCheckpoints.open();
});
afterEach(() => fixture[Symbol.asyncDispose]());

async function baseLayer(): Promise<Digest> {
  return await fixture.overlay.layer(
    { name: "etc/", type: "5" },
    { name: "etc/keep", data: "keep" },
    { name: "etc/gone", data: "gone" },
    { name: "tree/", type: "5" },
    { name: "tree/a", data: "a" },
    { name: "tree/sub/", type: "5" },
    { name: "tree/sub/b", data: "b" },
    { name: "tree/sub/c", data: "c" },
  );
}

/** New, changed and deleted files, and a directory that was removed and made again. */
function change(root: string): void {
  writeFileSync(join(root, "etc/new"), "new");
  writeFileSync(join(root, "etc/keep"), "changed");
  rmSync(join(root, "etc/gone"));
  rmSync(join(root, "tree"), { recursive: true });
  mkdirSync(join(root, "tree/sub"), { recursive: true });
  writeFileSync(join(root, "tree/sub/c"), "another c");
  execFileSync("python3", [
    "-c",
    `import socket; socket.socket(socket.AF_UNIX).bind("${join(root, "etc/socket")}")`,
  ]);
}

const list = (directory: string): string =>
  execFileSync("find", [".", "-type", "f", "-exec", "sha256sum", "{}", "+"], {
    cwd: directory,
    encoding: "utf8",
  })
    .split("\n")
    .toSorted()
    .join("\n");

test("CheckpointStore.begin() that fails half-way leaves nothing", async () => {
  // PATH_MAX (4096) has room for the directory, and not for the one in it.
  let parent = fixture.path("long");
  while (parent.length < 4080)
    parent = join(parent, "x".repeat(Math.min(250, 4088 - parent.length)));
  mkdirSync(parent, { recursive: true, mode: 0o700 });
  await assert.rejects(fixture.store.begin("c", parent), {
    message: /begin checkpoint of "c": .*too long/,
  });
  assert.deepEqual(readdirSync(parent), []);
  // One that exists already is somebody else's.
  mkdirSync(fixture.path("taken/c"), { recursive: true, mode: 0o700 });
  await assert.rejects(fixture.store.begin("c", fixture.path("taken")), { message: /exists/ });
  assert.deepEqual(readdirSync(fixture.path("taken")), ["c"]);
});

describe("CheckpointStore.complete()", () => {
  test("writes what checkpointctl reads, the changes, and a manifest of all of it", async () => {
    const layer = await baseLayer();
    const log = fixture.path("c.log");
    writeFileSync(log, "a line\n");
    await fixture.mount("one", [layer], change);
    const directory = await fixture.capture();
    const captured = fixture.captured("one", [layer], log);
    await fixture.store.complete(directory, captured, fixture.operation);
    await fixture.store.archive(directory, fixture.path("one.tar"), never);
    assert.deepEqual(readdirSync(directory).toSorted(), [
      "checkpoint",
      "config.dump",
      "container.log",
      "davit.json",
      "deleted.files",
      "dump.log",
      "rootfs-diff.tar",
      "spec.dump",
      "stats-dump",
    ]);
    assert.deepEqual(TestCheckpoints.json(join(directory, "deleted.files")), [
      "/etc/gone",
      "/tree/a",
      "/tree/sub/b",
    ]);
    const names = execFileSync("tar", ["-tf", join(directory, "rootfs-diff.tar")], {
      encoding: "utf8",
    });
    assert.deepEqual(names.trim().split("\n"), [
      "etc/",
      "etc/keep",
      "etc/new",
      "tree/",
      "tree/sub/",
      "tree/sub/c",
    ]);
    assert.equal(readFileSync(join(directory, "container.log"), "utf8"), "a line\n");
    const config = TestCheckpoints.json(join(directory, "config.dump"));
    assert.equal(config["id"], "one");
    assert.equal(config["rootfsImage"], "busybox");
    assert.equal(config["runtime"], "crun");
    assert.match(String(config["checkpointedTime"]), /^20\d\d-\d\d-\d\dT[\d:]{8}\.\d{9}Z$/);
    for (const name of readdirSync(directory)) {
      const expected = name === "checkpoint" ? 0o40700 : 0o100600;
      assert.equal(statSync(join(directory, name)).mode.toString(8), expected.toString(8), name);
    }
    const { files } = TestCheckpoints.json(join(directory, "davit.json")) as {
      files: Record<string, { size: number; sha256: string }>;
    };
    const sums = Object.entries(files).map(([name, { sha256 }]) => `${sha256}  ./${name}`);
    const all = list(directory).split("\n");
    assert.deepEqual(
      sums.toSorted(),
      all.filter((line) => line !== "" && !line.endsWith("/davit.json")),
    );
  });

  test("keeps no files of changes where nothing was changed", async () => {
    const directory = await fixture.completed("same", [await baseLayer()]);
    assert.ok(!existsSync(join(directory, "rootfs-diff.tar")));
    assert.ok(!existsSync(join(directory, "deleted.files")));
    await fixture.store.archive(directory, fixture.path("same.tar"), never);
    const opened = await fixture.store.openArchive(
      fixture.path("same.tar"),
      own,
      fixture.operation,
    );
    assert.equal(opened.changes, undefined);
  });

  test("keeps the end of a long log, from the beginning of a line on", async () => {
    const log = fixture.path("c.log");
    writeFileSync(log, "first\n");
    truncateSync(log, 65 * 1024 * 1024);
    appendFileSync(log, "\nlast\nend");
    await fixture.mount("long", []);
    const directory = await fixture.capture();
    const captured = fixture.captured("long", [], log);
    await fixture.store.complete(directory, captured, fixture.operation);
    assert.equal(readFileSync(join(directory, "container.log"), "utf8"), "last\nend");
  });

  test("does not follow a log that is a link, and says so", async () => {
    const log = fixture.path("c.log");
    symlinkSync("/etc/passwd", log);
    await fixture.mount("linked", []);
    const directory = await fixture.capture();
    const captured = fixture.captured("linked", [], log);
    await fixture.store.complete(directory, captured, fixture.operation);
    assert.ok(!existsSync(join(directory, "container.log")));
  });
});

describe("CheckpointStore.archive() and openArchive()", () => {
  test("give the same files, and a layer that makes the same root", async () => {
    const layer = await baseLayer();
    const directory = await fixture.completed("one", [layer], change);
    const location = fixture.path("one.tar");
    await fixture.store.archive(directory, location, never);
    assert.equal(statSync(location).mode, 0o100600);
    const opened = await fixture.store.openArchive(location, own, fixture.operation);
    assert.ok(opened.owned);
    assert.equal(list(opened.directory), list(directory));
    for (const path of [opened.directory, join(opened.directory, "checkpoint/core-1.img")]) {
      assert.equal(statSync(path).uid, 0);
      assert.equal(statSync(path).mode & 0o077, 0);
    }
    const { facts, changes } = opened;
    assert.equal(facts.containerId, "one");
    assert.equal(facts.hostname, "h");
    assert.ok(facts.config !== undefined && facts.config.length > 0);
    assert.ok(changes !== undefined && fixture.overlay.layers.has(changes));
    const root = await fixture.mount("two", [layer, changes]);
    const first = fixture.overlay.roots.pathOf("one");
    rmSync(join(first, "etc/socket"));
    assert.equal(list(root), list(first));
    assert.equal(readFileSync(join(root, "tree/sub/c"), "utf8"), "another c");
    await fixture.store.discard(opened.directory);
    assert.ok(!existsSync(opened.directory));
    await fixture.store.discard(opened.directory);
  });

  test("refuse an existing file or link at the location, and leave it", async () => {
    const directory = await fixture.completed("one");
    const location = fixture.path("taken.tar");
    for (const make of [
      () => writeFileSync(location, "mine"),
      () => symlinkSync(fixture.path("other"), location),
    ]) {
      make();
      await assert.rejects(fixture.store.archive(directory, location, never), {
        kind: "already-exists",
      });
      rmSync(location);
    }
    assert.ok(!existsSync(fixture.path("other")));
    assert.deepEqual(
      readdirSync(fixture.directory).filter((name) => name.includes("partial")),
      [],
    );
  });

  test("leave nothing on a full disk", async () => {
    const disk = fixture.path("disk");
    mkdirSync(disk);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", disk]);
    try {
      await fixture.mount("big", []);
      const directory = await fixture.capture(undefined, Buffer.alloc(4 * 1024 * 1024, "x"));
      await fixture.store.complete(directory, fixture.captured("big"), fixture.operation);
      const wrong = { kind: "resource-exhausted", message: /needs \d+ bytes.*is full/ };
      await assert.rejects(fixture.store.archive(directory, join(disk, "a.tar"), never), wrong);
      assert.deepEqual(readdirSync(disk), []);
    } finally {
      execFileSync("umount", [disk]);
    }
  });

  test("leave nothing of a restore on a full disk", async () => {
    const memory = Buffer.alloc(8 * 1024 * 1024, "x");
    await fixture.mount("big", []);
    const capture = await fixture.capture(undefined, memory);
    await fixture.store.complete(capture, fixture.captured("big"), fixture.operation);
    await fixture.store.archive(capture, fixture.path("big.tar"), never);
    await fixture.store.discard(capture);
    const pod = await fixture.completedPod("pod", ["a"], memory);
    const restores = join(fixture.root, "checkpoints/restores");
    mkdirSync(restores);
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=4m", "tmpfs", restores]);
    try {
      const wrong = { kind: "resource-exhausted", message: /must stay free|is full/ };
      const { store, operation } = fixture;
      await assert.rejects(store.openArchive(fixture.path("big.tar"), own, operation), wrong);
      const restore = { restoreId: "r", ...trusted };
      await assert.rejects(store.openPod(pod, restore, operation), wrong);
      assert.deepEqual(readdirSync(restores), []);
    } finally {
      execFileSync("umount", [restores]);
    }
  });

  test("an aborted archive leaves nothing", async () => {
    const directory = await fixture.completed("one");
    const abort = new AbortController();
    const reason = new Error("the caller left");
    const written = fixture.store.archive(directory, fixture.path("a.tar"), abort.signal);
    abort.abort(reason);
    await assert.rejects(written, reason);
    assert.ok(!readdirSync(fixture.directory).some((name) => name.includes("tar")));
  });
});

describe("CheckpointStore.openPod()", () => {
  test("copies the containers of a pod, and leaves the directory as it is", async () => {
    const directory = await fixture.completedPod("pod", ["a", "b"]);
    const before = list(directory);
    const restore = { restoreId: "r1", ...trusted };
    const opened = await fixture.store.openPod(directory, restore, fixture.operation);
    assert.deepEqual(
      opened.containers.map(({ facts, owned }) => [facts.name, owned]),
      [
        ["a", true],
        ["b", true],
      ],
    );
    assert.ok(opened.config !== undefined);
    assert.equal(list(directory), before);
    for (const each of opened.containers) await fixture.store.discard(each.directory);
    assert.deepEqual(readdirSync(join(fixture.root, "checkpoints/restores")), []);
  });

  test("uses a snapshot of the node in place", async () => {
    const made = await fixture.completedPod("pod", ["a"]);
    const snapshots = join(fixture.root, "checkpoints/snapshots");
    mkdirSync(snapshots, { mode: 0o700 });
    execFileSync("mv", [made, join(snapshots, "s1")]);
    const restore = { restoreId: "r1", ...trusted };
    const at = join(snapshots, "s1");
    const { containers } = await fixture.store.openPod(at, restore, fixture.operation);
    assert.deepEqual(
      containers.map(({ directory, owned }) => [directory, owned]),
      [[join(at, "containers/a"), false]],
    );
    assert.deepEqual(readdirSync(join(fixture.root, "checkpoints/restores")), []);
  });
});

describe("the layer of changes", () => {
  test("is held before it is on the node, and when it is found again", async () => {
    const { layers } = fixture.overlay;
    const directory = await fixture.completed("one", [await baseLayer()], change);
    const location = fixture.path("one.tar");
    await fixture.store.archive(directory, location, never);
    const held: (readonly [Digest, boolean])[] = [];
    const hold = (layer: Digest): void => void held.push([layer, layers.has(layer)]);
    const open = (store: typeof fixture.store, containerId: string) =>
      store.openArchive(location, { containerId, trust: "own", hold }, fixture.operation);
    const { changes } = await open(fixture.store, "a");
    assert.deepEqual(held, [[changes, false]]);
    await open(fixture.store, "b");
    await open(fixture.open(), "c");
    assert.deepEqual(held.slice(1), [
      [changes, true],
      [changes, true],
    ]);
  });

  test("has earlier changes of a container that was itself restored", async () => {
    const base = await baseLayer();
    const earlier = await fixture.overlay.layer({ name: "etc/earlier", data: "earlier" });
    await fixture.mount("again", [base, earlier], (root) => writeFileSync(join(root, "later"), ""));
    const directory = await fixture.capture();
    const captured = { ...fixture.captured("again", [base, earlier]), earlierChanges: earlier };
    await fixture.store.complete(directory, captured, fixture.operation);
    const archive = join(directory, "rootfs-diff.tar");
    const names = execFileSync("tar", ["-tf", archive], { encoding: "utf8" });
    assert.deepEqual(names.trim().split("\n"), ["etc/earlier", "later"]);
    assert.deepEqual(TestCheckpoints.json(join(directory, "deleted.files")), []);
  });
});

describe("CheckpointStore.sweep()", () => {
  test("removes what earlier daemons left, and what belongs to no container", async () => {
    const directory = await fixture.completed("one");
    await fixture.store.archive(directory, fixture.path("a.tar"), never);
    for (const containerId of ["known", "unknown"]) {
      const restore = { containerId, ...trusted };
      await fixture.store.openArchive(fixture.path("a.tar"), restore, fixture.operation);
    }
    assert.deepEqual(await fixture.store.sweep(new Set(["known"])), []);
    const partial = join(fixture.directory, ".davit-00000000-0000-0000-0000-000000000000.partial");
    writeFileSync(partial, "half");
    const notes = join(fixture.root, "checkpoints/partial");
    writeFileSync(join(notes, "1"), partial);
    const stuck = join(fixture.directory, ".davit-00000000-0000-0000-0000-000000000001.partial");
    mkdirSync(stuck);
    writeFileSync(join(notes, "0"), stuck);
    writeFileSync(join(notes, "2"), fixture.path("a.tar"));
    const lines = await fixture.open().sweep(new Set(["known"]));
    assert.equal(lines.length, 4, lines.join("\n"));
    assert.match(lines.join("\n"), /cannot remove the half-written archive/);
    assert.deepEqual(readdirSync(join(fixture.root, "checkpoints/restores")), ["known"]);
    assert.ok(!existsSync(partial) && existsSync(fixture.path("a.tar")));
    assert.deepEqual(readdirSync(dirname(directory)), []);
    assert.deepEqual(readdirSync(notes), []);
  });

  test("keeps an archive that is being written", async () => {
    const directory = await fixture.completed("one", [], (root) =>
      writeFileSync(join(root, "large"), Buffer.alloc(64 * 1024 * 1024)),
    );
    const location = fixture.path("a.tar");
    const notes = join(fixture.root, "checkpoints/partial");
    const writing = fixture.store.archive(directory, location, never);
    while (!existsSync(notes) || readdirSync(notes).length === 0) await setImmediate();
    assert.deepEqual(await fixture.store.sweep(new Set()), []);
    await writing;
    assert.ok(existsSync(location));
  });
});
