/**
 * Archives that davit writes (`davit save`), as lists of entries in JSON: davit, Python's tarfile, GNU tar and bsdtar
 * read the same entries from them.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import path from "node:path";

import fc from "fast-check";

import {
  archiveEnd,
  headersOf,
  paddingOf,
  type WrittenEntry,
} from "../../../src/unpack/tar-writer.ts";
import { readByGnuTar } from "../../../src/unpack/testing/other-readers.ts";
import { readByDavit } from "../readers/davit.ts";
import { ArchiveReader, type ReadEntry } from "../readers/reader.ts";
import { type FuzzTarget, jsonSeeds } from "../target.ts";

/** An entry to write, with what JSON has no type for as text. */
interface Recipe {
  readonly name: string;
  readonly type: string;
  readonly linkName: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly timeNs: string;
  readonly major: number;
  readonly minor: number;
  readonly xattrs: Readonly<Record<string, string>>;
}

const byteText = (maxLength: number): fc.Arbitrary<string> =>
  fc.oneof(
    fc.stringMatching(/^[a-z0-9.]{1,12}$/),
    fc
      .array(fc.integer({ min: 1, max: 255 }), { minLength: 1, maxLength })
      .map((bytes) => Buffer.from(bytes).toString("latin1")),
  );
const name = fc
  .array(byteText(90), { minLength: 1, maxLength: 3 })
  .map((parts) => parts.join("/").replace(/^\/+|\/+$/g, "") || "x");
const id = fc.oneof(fc.nat({ max: 5000 }), fc.constantFrom(0o7777777, 0o10000000, 2 ** 32 - 2));
const recipe: fc.Arbitrary<Recipe> = fc
  .record({
    name,
    type: fc.constantFrom("0", "0", "1", "2", "3", "4", "5", "6"),
    linkName: name,
    mode: fc.integer({ min: 0, max: 0o7777 }),
    uid: id,
    gid: id,
    size: fc.constantFrom(0, 1, 511, 512, 513, 5000),
    timeNs: fc
      .oneof(
        fc.bigInt({ min: -(10n ** 18n), max: 10n ** 19n }),
        fc.integer({ min: 0, max: 2 ** 31 }).map((seconds) => BigInt(seconds) * 1_000_000_000n),
      )
      .map(String),
    major: fc.integer({ min: 0, max: 4095 }),
    minor: fc.integer({ min: 0, max: 1_048_575 }),
    xattrs: fc.dictionary(fc.constantFrom("user.a", "security.b", "user.c=d"), byteText(20), {
      maxKeys: 2,
    }),
  })
  .map((each) => (each.type === "5" ? { ...each, name: `${each.name}/` } : each));

function parse(input: Buffer): readonly Recipe[] {
  try {
    const all = JSON.parse(input.toString("utf8")) as unknown;
    return Array.isArray(all) && all.length > 0 && all.every(isRecipe) ? all : [];
  } catch {
    return [];
  }
}

const isNumber = (number: unknown, most: number): boolean =>
  Number.isInteger(number) &&
  !Object.is(number, -0) &&
  (number as number) >= 0 &&
  (number as number) <= most;

/** A path as the packer writes it. */
const isPath = (text: unknown): boolean =>
  typeof text === "string" &&
  text.length < 400 &&
  /^[\x01-\xff]+$/.test(text) &&
  !/^\/|\/\/|\/$/.test(text);

const areXattrs = (xattrs: unknown): boolean =>
  typeof xattrs === "object" &&
  xattrs !== null &&
  Object.entries(xattrs).every(
    ([key, text]) => /^(user|security)\.[\w.=]+$/.test(key) && /^[\0-\xff]*$/.test(String(text)),
  );

const limits: readonly (readonly [keyof Recipe, number])[] = [
  ["mode", 0o7777],
  ["uid", 2 ** 32 - 2],
  ["gid", 2 ** 32 - 2],
  ["size", 10_000],
  ["major", 4095],
  ["minor", 1_048_575],
];

/** Only what the packer can find on a disk: a mutation may be anything. */
function isRecipe(value: unknown): value is Recipe {
  if (typeof value !== "object" || value === null) return false;
  const one = value as Partial<Recipe>;
  const name = one.type === "5" ? String(one.name).replace(/\/$/, "") : one.name;
  return (
    typeof one.name === "string" &&
    /^[0-6]$/.test(String(one.type)) &&
    isPath(name) &&
    isPath(one.linkName) &&
    limits.every(([key, most]) => isNumber(one[key], most)) &&
    /^(0|-?[1-9]\d{0,18})$/.test(String(one.timeNs)) &&
    areXattrs(one.xattrs)
  );
}

function write(recipes: readonly Recipe[]): Buffer {
  const parts = recipes.flatMap(({ timeNs, xattrs, size, ...more }) => {
    const data = Buffer.alloc(more.type === "0" ? size : 0, "d");
    const entry: WrittenEntry = {
      ...more,
      size: data.length,
      timeNs: BigInt(timeNs),
      xattrs: new Map(Object.entries(xattrs)),
    };
    return [headersOf(entry), data, paddingOf(data.length)];
  });
  return Buffer.concat([...parts, archiveEnd]);
}

function checkOwn(recipes: readonly Recipe[], found: readonly ReadEntry[]): void {
  assert.equal(found.length, recipes.length);
  for (const [at, wanted] of recipes.entries()) {
    const entry = found[at];
    assert.ok(entry);
    const isDevice = wanted.type === "3" || wanted.type === "4";
    const isLink = wanted.type === "1" || wanted.type === "2";
    assert.equal(entry.path, wanted.name);
    assert.equal(entry.type, wanted.type);
    assert.equal(entry.linkPath, isLink ? wanted.linkName : "");
    assert.deepEqual([entry.mode, entry.uid, entry.gid], [wanted.mode, wanted.uid, wanted.gid]);
    assert.equal(entry.size, wanted.type === "0" ? wanted.size : 0);
    assert.equal(entry.device, isDevice ? `${wanted.major}:${wanted.minor}` : "");
    const timeNs = BigInt(entry.seconds) * 1_000_000_000n + BigInt(entry.nanoseconds);
    assert.equal(timeNs, BigInt(wanted.timeNs));
    assert.deepEqual(
      entry.xattrs,
      Object.entries(wanted.xattrs)
        .map(([key, value]) => `${key}=${value}`)
        .sort(),
    );
  }
}

let python: ArchiveReader | undefined;

/** Fields that every reader reports; some take the slash at the end of a directory away. */
function common({ type, path: name, linkPath, mode, uid, gid, size }: Partial<ReadEntry>): string {
  return JSON.stringify([type, name?.replace(/\/+$/, ""), linkPath, mode, uid, gid, size]);
}

async function checkPython(archive: Buffer, found: readonly ReadEntry[]): Promise<void> {
  python ??= new ArchiveReader("python3", [path.resolve(import.meta.dirname, "../readers/tar.py")]);
  const theirs = await python.read(archive).catch(() => undefined);
  if (theirs === undefined) return; // Python is not installed
  assert.equal(theirs.error, "");
  assert.deepEqual(theirs.entries.map(common), found.map(common));
}

function checkPrograms(archive: Buffer, found: readonly ReadEntry[]): void {
  // It aligns the columns after an odd time.
  const listed = readByGnuTar(archive)?.map((one) => ({ ...one, path: one.path.trimStart() }));
  const types = ["file", "link", "symlink", "char", "block", "dir", "fifo"];
  const ours = found.map((entry) => ({
    type: types[Number(entry.type)],
    path: entry.path.replace(/\/+$/, ""),
    linkPath: entry.linkPath,
    owner: `${entry.uid}:${entry.gid} ${entry.mode.toString(8)}`,
    size: entry.size,
  }));
  // A newline, " -> " or a quoted byte in a name is not unambiguous in a list.
  if (found.every((entry) => /^[\w./-]+$/.test(entry.path + entry.linkPath)))
    assert.deepEqual(listed, ours);
  const bsdtar = spawnSync("bsdtar", ["-tf", "-"], {
    input: archive,
    encoding: "latin1",
    env: { ...process.env, LC_ALL: "C" },
  });
  if (bsdtar.error !== undefined) return; // not installed
  assert.equal(bsdtar.status, 0, bsdtar.stderr);
  assert.equal(bsdtar.stdout.split("\n").length - 1, found.length);
}

export const target: FuzzTarget = {
  name: "tar-writer",
  seeds: () =>
    jsonSeeds(
      [
        {
          name: "f",
          type: "0",
          linkName: "x",
          mode: 420,
          uid: 0,
          gid: 0,
          size: 3,
          timeNs: "1500000000",
          major: 0,
          minor: 0,
          xattrs: { "user.a": "b" },
        },
      ],
      [
        {
          name: `${"d".repeat(120)}/`,
          type: "5",
          linkName: "x",
          mode: 0o1777,
          uid: 2 ** 31,
          gid: 1,
          size: 0,
          timeNs: "-1",
          major: 0,
          minor: 0,
          xattrs: {},
        },
      ],
    ),
  structured: fc
    .array(recipe, { minLength: 1, maxLength: 4 })
    .map((all) => Buffer.from(JSON.stringify(all))),
  limitMs: () => 2000,
  check: async (input) => {
    const recipes = parse(input);
    if (recipes.length === 0) return;
    const archive = write(recipes);
    const { entries, error } = readByDavit([archive]);
    assert.equal(error, "");
    checkOwn(recipes, entries);
    await checkPython(archive, entries);
    checkPrograms(archive, entries);
  },
  close: () => {
    python?.close();
    python = undefined;
  },
};
