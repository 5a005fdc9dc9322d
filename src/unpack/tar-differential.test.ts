/**
 * Compares how several readers read the same archives. Go's archive/tar is the reference: its
 * results are recorded in testing/go-archive-tar.txt. GNU tar and Python's tarfile run, and are compared
 * where they agree with Go.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { lineOf, recordedByGo } from "./testing/archive-lines.ts";
import { oddArchives } from "./testing/odd-archives.ts";
import {
  type OtherFound,
  type PythonFound,
  readByGnuTar,
  readByPython,
} from "./testing/other-readers.ts";
import { Random } from "./testing/random.ts";
import { randomArchive } from "./testing/random-archive.ts";
import { type Found, readArchive, readUntilFailure } from "./testing/read-archive.ts";

const recorded = recordedByGo();
const directory = mkdtempSync(join(tmpdir(), "davit-readers-"));
after(() => rmSync(directory, { recursive: true }));
const RANDOM_ARCHIVES = 200;

/** Archives that Go accepts and davit rejects. Otherwise both accept and reject the same archives. */
const refusedHere: ReadonlyMap<string, RegExp> = new Map([
  ["unknown types", /unknown type "Z"/],
  ["a contiguous file", /unknown type "7"/],
  ["a label", /unknown type "V"/],
  ["a label with a size", /unknown type "V"/],
  ["an incremental directory", /unknown type "D"/],
  ["owner -1", /invalid owner -1/],
  ["owner 2^32", /invalid owner 4294967296/],
  ["owner 2^55 and 1", /gid that is too large/],
  ["a device of 33 bits", /invalid device 4294967296:4294967296/],
  ["a major above 12 bits", /invalid device 4096:1/],
  ["a minor above 20 bits", /invalid device 1:1048576/],
  ["a device below 0", /invalid device -1:0/],
]);

const sizesOf = (types: string, where: string): readonly string[] =>
  types.split(",").map((type) => `size of type ${type} in ${where}`);

/** Where GNU tar 1.35 reads something else than Go, and what. */
const gnuDiffers = new Set([
  // It skips data of types without data.
  ...sizesOf("2,3,4,6", "its header"),
  ...sizesOf("1,2,3,4,6", "PAX"),
  "V7: a directory has no data",
  "V7: a directory with a size and no data",
  "V7: by the name of a PAX record",
  "a long name for a directory",
  // Every file whose name ends with a slash is a directory.
  "a file with a slash",
  "a file with a slash, PAX has the size",
  "a file with a slash, PAX takes the size",
  // Global records apply to all entries, and end no other records.
  "global records",
  "global records end the records before them",
  // Records have priority over long names, in any order.
  "a long name and a record",
  "a record and a long name",
  "a long link and a record",
  // Empty values count.
  "long names that are empty",
  "PAX size of nothing",
  // Only ustar has prefixes, and numbers do not start with NULs.
  "a prefix, star's",
  "a prefix, GNU",
  "numbers with NULs before them",
  // Names and sizes of a sparse file count even without a map.
  "sparse: records without a map",
  // It rejects these.
  "PAX size with a sign",
  "a size below 0 of a directory",
  "times: decimals",
  "empty numbers",
  "sparse, 0.1: without a version",
  "sparse, 0.1: no pieces",
  "sparse, 0.1: no size of the whole",
  "sparse, 2.0 is not sparse",
  "nothing at all",
  "no padding",
  "part of the padding",
]);

/** Where tarfile of Python 3.11 reads something else than Go, and what. */
const pythonDiffers = new Set([
  // The name in the header decides whether an entry is a directory.
  "V7: by the name of a PAX record",
  "V7: a record takes the slash away",
  "a long name for a directory",
  // Global records apply to all entries, and end no other records.
  "global records",
  "global records end the records before them",
  // Earlier records have priority over later ones.
  "records twice: the last header counts",
  "a long name and a record",
  "a long link and a record",
  "a long name twice",
  // Empty values count.
  "PAX size of nothing",
  "long names that are empty",
  // Every format has a prefix of 155 bytes, and numbers do not start with NULs.
  "a prefix, star's",
  "a prefix, V7",
  "a prefix, GNU, of bytes",
  "GNU's times",
  "GNU's times, enormous",
  "numbers with NULs before them",
  // Names and sizes of a sparse file count even without a map.
  "sparse, old: PAX has the size",
  "sparse, 2.0 is not sparse",
  "sparse: records without a map",
  // It rejects these.
  "records at the end",
  "an invalid device number, V7",
  "sparse, 0.1: no pieces",
  "sparse, 0.1: no size of the whole",
  "nothing at all",
  "no padding",
  "part of the padding",
]);

/** An entry in the format of the other readers. */
function otherOf(entry: Found): OtherFound {
  const { type, path, linkPath, uid, gid, mode, size } = entry;
  const owner = `${uid}:${gid} ${mode.toString(8)}`;
  return { type, path: path.replace(/\/+$/, ""), linkPath, owner, size };
}

/** The accepted archives, without those that the other reader is known to read differently. */
function agreedWith(differs: ReadonlySet<string>): readonly (readonly [string, Buffer])[] {
  return [...oddArchives].filter(
    ([name]) => !differs.has(name) && !refusedHere.has(name) && !goOf(name).refused,
  );
}

function goOf(name: string): { readonly lines: readonly string[]; readonly refused: boolean } {
  const found = recorded.get(name);
  assert.ok(found, `no recorded answer of Go for "${name}"`);
  return found;
}

function compareWithGo(name: string, bytes: Buffer): void {
  const go = goOf(name);
  const { found, error } = readUntilFailure(bytes);
  const lines = found.map(lineOf);
  const refused = refusedHere.get(name);
  if (refused === undefined) {
    assert.deepEqual(lines, go.lines);
    assert.equal(error !== undefined, go.refused, String(error));
    return;
  }
  assert.match(String(error), refused);
  assert.deepEqual(lines, go.lines.slice(0, lines.length));
  assert.ok(lines.length < go.lines.length);
}

describe("like Go's archive/tar", () => {
  for (const [name, bytes] of oddArchives) test(name, () => compareWithGo(name, bytes));

  test(`${RANDOM_ARCHIVES} random archives`, () => {
    let taken = 0;
    for (let seed = 1; seed <= RANDOM_ARCHIVES; seed++) {
      const name = `random ${seed}`;
      compareWithGo(name, randomArchive(new Random(seed)));
      if (!goOf(name).refused) taken++;
    }
    assert.ok(taken > RANDOM_ARCHIVES / 3, `only ${taken} of them are whole`);
  });
});

describe("like GNU tar, where that agrees with Go", () => {
  for (const [name, bytes] of agreedWith(gnuDiffers)) {
    test(name, () => assert.deepEqual(readByGnuTar(bytes), readArchive([bytes]).map(otherOf)));
  }
});

describe("like Python's tarfile, where that agrees with Go", () => {
  const agreed = agreedWith(pythonDiffers);
  let python: readonly PythonFound[] | undefined;
  before(() => {
    const files = agreed.map(([, bytes], at) => {
      const file = join(directory, `${at}.tar`);
      writeFileSync(file, bytes);
      return file;
    });
    python = readByPython(files);
  });

  for (const [at, [name, bytes]] of agreed.entries()) {
    test(name, (context) => {
      if (python === undefined) {
        context.skip("python3 is not installed");
        return;
      }
      const found = readArchive([bytes]).map((entry) => ({
        ...otherOf(entry),
        // Only files have content.
        content: entry.content,
      }));
      assert.deepEqual(python[at], found);
    });
  }
});

describe("sparse files of GNU tar itself", () => {
  const [file, size] = [join(directory, "sparse"), 3_000_000];
  const whole = Buffer.alloc(size);
  before(() => {
    for (let at = 0; at < 60; at++) whole.fill(at + 1, at * 49_152, at * 49_152 + 4096);
    const fd = openSync(file, "w");
    for (let at = 0; at < 60; at++) writeSync(fd, whole, at * 49_152, 4096, at * 49_152);
    ftruncateSync(fd, size);
    closeSync(fd);
  });

  for (const format of [
    ["--format=gnu"],
    ["--format=oldgnu"],
    ["--format=pax", "--sparse-version=0.0"],
    ["--format=pax", "--sparse-version=0.1"],
    ["--format=pax", "--sparse-version=1.0"],
  ]) {
    test(format.join(" "), () => {
      const args = ["--sparse", ...format, "-C", directory, "-c", "sparse"];
      const bytes = execFileSync("tar", args);
      assert.ok(bytes.length < size / 4, "tar has found no holes");
      const content = createHash("sha256").update(whole).digest("hex");
      for (const longest of [bytes.length, 777]) {
        const [found, ...others] = readArchive(new Random(longest).split(bytes, longest));
        assert.deepEqual(others, []);
        assert.deepEqual([found?.path, found?.size], ["sparse", size]);
        assert.equal(found?.content, content);
        assert.ok(found.holes >= size - 60 * 8192, `only ${found.holes} bytes are holes`);
      }
    });
  }
});
