import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statfsSync, type StatsFs } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as turnOfLoop } from "node:timers/promises";
import { after, afterEach, before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { type ErrorKind, kindOf } from "../../base/errors.ts";
import type { LayerLimits, LayerSource } from "../../core/snapshot/index.ts";
import { unmount } from "../../linux/mount/index.ts";
import { childPids, until } from "../../linux/testing/leaks.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { sourceOf, TestOverlay } from "./testing/layers.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-limits-"));
after(() => rmSync(directory, { recursive: true }));
afterEach(() => assert.deepEqual(childPids(), []));

const MIB = 2 ** 20;

/** Snapshots on a small tmpfs of their own. */
class SmallDisk implements AsyncDisposable {
  readonly fixture: TestOverlay;
  readonly path: string;

  private constructor(fixture: TestOverlay) {
    this.fixture = fixture;
    this.path = fixture.root;
  }

  static async open(name: string, options: string): Promise<SmallDisk> {
    const path = join(directory, name);
    mkdirSync(path);
    execFileSync("mount", ["-t", "tmpfs", "-o", `mode=700,${options}`, "davit-small", path]);
    return new SmallDisk(await TestOverlay.open(path));
  }

  /** Unpacks all at once and gives how each ends, with the least that was free meanwhile. */
  async unpackAll(
    sources: readonly LayerSource[],
  ): Promise<{ readonly errors: readonly unknown[]; readonly least: StatsFs }> {
    const least = statfsSync(this.path);
    const over = new AbortController();
    const calls = sources.map((source) => this.fixture.layers.unpack(source, never));
    const settled = Promise.allSettled(calls).finally(() => over.abort());
    while (!over.signal.aborted) {
      const { bavail, ffree } = statfsSync(this.path);
      least.bavail = Math.min(least.bavail, bavail);
      least.ffree = Math.min(least.ffree, ffree);
      await turnOfLoop();
    }
    const errors = (await settled).map((result) =>
      result.status === "rejected" ? (result.reason as unknown) : undefined,
    );
    return { errors, least };
  }

  /** Removes the layers that are there. */
  async clear(): Promise<void> {
    const { layers } = this.fixture;
    for (const diffId of layers.list()) await layers.remove(diffId);
    await until("nothing is left", () => readdirSync(join(this.path, "layers")).length === 1);
  }

  assertEmpty(): void {
    assert.deepEqual(readdirSync(join(this.path, "layers")), [".empty"]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.fixture[Symbol.asyncDispose]();
    await unmount(this.path);
  }
}

function assertFailure(error: unknown, kind: ErrorKind, message: RegExp): void {
  assert.match(String(error), message);
  assert.equal(kindOf(error), kind, String(error));
}

function zeros(bytes: number, name = "zeros"): Buffer {
  return buildTar([{ name, data: Buffer.alloc(bytes) }]);
}

function manyFiles(count: number, prefix: string, data = ""): Buffer {
  return buildTar(Array.from({ length: count }, (_, at) => ({ name: `${prefix}-${at}`, data })));
}

describe("a small disk", () => {
  let disk: SmallDisk;
  before(async () => {
    disk = await SmallDisk.open("bytes", `size=${32 * MIB}`);
  });
  after(() => disk[Symbol.asyncDispose]());
  afterEach(() => disk.assertEmpty());
  const refusal =
    /unpack layer "sha256:\w{64}": the file system of ".*\/bytes" has \d+ MiB free, of which 1 MiB must stay free: .*davit rmi --unused/;

  test("a bomb is refused before it fills the disk", async () => {
    const tar = zeros(64 * MIB);
    const { errors, least } = await disk.unpackAll([sourceOf(tar, gzipSync(tar))]);
    assertFailure(errors[0], "resource-exhausted", refusal);
    assert.ok(least.bavail >= least.blocks / 20, `${least.bavail} blocks are free`);
  });

  test("two bombs side by side leave as much free as one", async () => {
    const tars = [zeros(20 * MIB, "a"), zeros(20 * MIB, "b")];
    const sources = tars.map((tar) => sourceOf(tar, zstdCompressSync(tar)));
    const { errors, least } = await disk.unpackAll(sources);
    assert.ok(least.bavail >= least.blocks / 20, `${least.bavail} blocks are free`);
    const failures = errors.filter((error) => error !== undefined);
    assert.ok(failures.length > 0, "one of them at least does not fit");
    for (const error of failures) assertFailure(error, "resource-exhausted", refusal);
    await disk.clear();
  });

  test("small files take whole blocks of it", async () => {
    const tar = manyFiles(20_000, "file", "x");
    const { errors, least } = await disk.unpackAll([sourceOf(tar, gzipSync(tar))]);
    assertFailure(errors[0], "resource-exhausted", refusal);
    assert.ok(least.bavail >= least.blocks / 20, `${least.bavail} blocks are free`);
  });
});

describe("a disk with few inodes", () => {
  let disk: SmallDisk;
  before(async () => {
    disk = await SmallDisk.open("inodes", `size=${256 * MIB},nr_inodes=4000`);
  });
  after(() => disk[Symbol.asyncDispose]());
  afterEach(() => disk.assertEmpty());
  const refusal =
    /the file system of ".*\/inodes" has \d+ inodes free, of which 200 must stay free: it is out of inodes, not of bytes/;

  test("two layers of many files in parallel leave some inodes free, and the refusal has the reason", async () => {
    const sources = ["a", "b"].map((name) => sourceOf(manyFiles(6000, name)));
    const { errors, least } = await disk.unpackAll(sources);
    for (const error of errors) assertFailure(error, "resource-exhausted", refusal);
    assert.ok(least.ffree >= 200, `${least.ffree} inodes are free`);
  });

  test("directories that no entry names count as well", async () => {
    const path = Array.from({ length: 40 }, () => "d").join("/");
    const entries = Array.from({ length: 200 }, (_, at) => ({ name: `${at}/${path}` }));
    const { errors, least } = await disk.unpackAll([sourceOf(buildTar(entries))]);
    assertFailure(errors[0], "resource-exhausted", refusal);
    assert.ok(least.ffree >= 200, `${least.ffree} inodes are free`);
  });
});

describe("limits of a layer", () => {
  let fixture: TestOverlay;
  before(async () => {
    fixture = await TestOverlay.open(join(directory, "limits"));
  });
  after(() => fixture[Symbol.asyncDispose]());

  async function assertRefused(tar: Buffer, limits: LayerLimits, message: RegExp): Promise<void> {
    const source = { ...sourceOf(tar, gzipSync(tar)), limits };
    await assert.rejects(fixture.layers.unpack(source, never), (error) => {
      assertFailure(error, "failed-precondition", message);
      return true;
    });
    assert.deepEqual(readdirSync(join(fixture.root, "layers")), [".empty"]);
  }

  test("one of more bytes is refused in the words of the limit, one of just as many is taken", async () => {
    const tar = zeros(MIB);
    const bytes = (most: number): LayerLimits => ({ bytes: { most, why: "the limit of bytes" } });
    await assertRefused(
      tar,
      bytes(tar.length - 1),
      /unpack layer "sha256:.*": it has more than the limit of bytes$/,
    );
    const padded = Buffer.concat([tar, Buffer.alloc(MIB)]);
    await assertRefused(padded, bytes(tar.length + 1), /the limit of bytes$/);
    await fixture.layers.unpack({ ...sourceOf(tar), limits: bytes(tar.length) }, never);
    const { layers } = fixture;
    for (const diffId of layers.list()) await layers.remove(diffId);
    await until("it is gone", () => readdirSync(join(fixture.root, "layers")).length === 1);
  });

  test("so is one of more entries; headers that belong to an entry do not count", async () => {
    const pax = { path: "long" };
    const tar = buildTar([
      { name: "a", pax },
      { name: "b", pax },
      { name: "c", pax },
    ]);
    const entries = (most: number): LayerLimits => ({ entries: { most, why: "the limit" } });
    await assertRefused(tar, entries(2), /": it has more than the limit$/);
    await fixture.layers.unpack({ ...sourceOf(tar), limits: entries(3) }, never);
  });
});
