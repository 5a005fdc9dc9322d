import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { describeFullDisk, DiskHeadroom, type DiskSpace } from "./disk-headroom.ts";

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** A file system with a limited size. */
class Disk {
  readonly total: number;
  readonly files: number;
  usedBytes = 0;
  usedFiles = 0;
  looks = 0;

  constructor(total: number, files: number) {
    this.total = total;
    this.files = files;
  }

  space(): DiskSpace {
    this.looks++;
    return {
      bsize: 4096,
      blocks: this.total / 4096,
      bavail: Math.floor((this.total - this.usedBytes) / 4096),
      files: this.files,
      ffree: this.files - this.usedFiles,
    };
  }

  get freeBytes(): number {
    return this.total - this.usedBytes;
  }
}

/** Writes like an unpacker, one step for each call; false when it is refused. */
function writer(disk: Disk, bytes: number, files: number): () => boolean {
  const room = new DiskHeadroom("/images");
  return () => {
    try {
      if (!room.spend(bytes, files)) room.update(disk.space(), bytes, files);
    } catch (error) {
      assert.ok(isKind(error, "resource-exhausted"), String(error));
      return false;
    }
    disk.usedBytes += bytes;
    disk.usedFiles += files;
    return true;
  };
}

function runAll(writers: readonly (() => boolean)[]): void {
  let running = writers;
  while (running.length > 0) running = running.filter((step) => step());
}

describe("DiskRoom", () => {
  for (const [name, total] of [
    ["8 GiB", 8 * GIB],
    ["400 MiB", 400 * MIB],
  ] as const) {
    test(`8 writers together leave 5 % of ${name} free, and use the rest`, () => {
      const disk = new Disk(total, 0);
      runAll(Array.from({ length: 8 }, () => writer(disk, MIB / 4, 0)));
      assert.ok(disk.freeBytes >= total / 20, `${disk.freeBytes} are free`);
      assert.ok(disk.freeBytes <= total / 20 + 4 * MIB, `${disk.freeBytes} are free`);
    });
  }

  test("1 GiB of a large disk stays free, and 7 paused writers use less than half of it", () => {
    const disk = new Disk(1024 * GIB, 0);
    const paused = Array.from({ length: 7 }, () => writer(disk, MIB / 4, 0));
    for (const step of paused) assert.ok(step());
    runAll([writer(disk, MIB / 4, 0)]);
    assert.ok(disk.freeBytes >= GIB && disk.freeBytes < GIB + 4 * MIB, `${disk.freeBytes} free`);
    runAll(paused);
    assert.ok(disk.freeBytes >= GIB / 2, `${disk.freeBytes} are free`);
  });

  test("checks a large disk once in 64 MiB", () => {
    const disk = new Disk(1024 * GIB, 0);
    const step = writer(disk, MIB / 4, 0);
    for (let written = 0; written < GIB; written += MIB / 4) assert.ok(step());
    assert.equal(disk.looks, 16);
  });

  test("inodes stay free, too, and the refusal names them", () => {
    const disk = new Disk(1024 * GIB, 100_000);
    runAll([writer(disk, 4096, 1), writer(disk, 4096, 3)]);
    const free = disk.files - disk.usedFiles;
    assert.ok(free >= 5000 && free < 5050, `${free} inodes are free`);
    const room = new DiskHeadroom("/images");
    assert.throws(() => room.update(disk.space(), 4096, 50), {
      kind: "resource-exhausted",
      message: /^the file system of "\/images" has \d+ inodes free, of which 5000 must stay free/,
    });
  });

  test("a file system that does not count inodes has enough of them", () => {
    const room = new DiskHeadroom("/images");
    const disk = new Disk(GIB, 0);
    room.update(disk.space(), 4096, 1_000_000);
  });

  test("the refusal names the file system, its free space and what to do", () => {
    const disk = new Disk(GIB, 0);
    disk.usedBytes = GIB - 52 * MIB;
    assert.throws(() => new DiskHeadroom("/images").update(disk.space(), MIB, 0), {
      message:
        /^the file system of "\/images" has 52 MiB free, of which 51 MiB must stay free: .*davit rmi/,
    });
  });
});

test("describeFullDisk() distinguishes bytes and inodes", () => {
  const disk = new Disk(GIB, 1000);
  assert.match(describeFullDisk("/images", disk.space()), /"\/images" is full: remove/);
  disk.usedFiles = 1000;
  assert.match(describeFullDisk("/images", disk.space()), /"\/images" has no inodes left/);
});
