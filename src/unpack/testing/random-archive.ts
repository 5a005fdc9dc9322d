import { global, long, meta, smuggled } from "./odd-entries.ts";
import type { Random } from "./random.ts";
import { type BuiltEntry, buildTar, gnuMagic, paxContent, v7Magic } from "./tar-builder.ts";

/** A random archive of entries with records and long names before them. */
export function randomArchive(random: Random): Buffer {
  return buildTar(Array.from({ length: 2 + random.below(6) }, () => randomEntry(random)));
}

const randomRecords: readonly (readonly [string, readonly string[]])[] = [
  ["path", ["p", "p/", "", "a/b"]],
  ["linkpath", ["t2"]],
  ["size", ["0", "3", "512", "1024", ""]],
  ["uid", ["5", "4294967294"]],
  ["mtime", ["1.5", "7"]],
  ["comment", ["x"]],
  ["SCHILY.xattr.user.a", ["b"]],
];
const sparseRecords: readonly (readonly [string, readonly string[]])[] = [
  ["GNU.sparse.major", ["0", "1", "1", "2"]],
  ["GNU.sparse.minor", ["0", "1"]],
  ["GNU.sparse.map", ["0,3", "2,3,6,0", ""]],
  ["GNU.sparse.numblocks", ["1", "2", "0"]],
  ["GNU.sparse.size", ["3", "10"]],
  ["GNU.sparse.name", ["whole"]],
];

function pick<T>(random: Random, list: readonly T[]): T {
  return list[random.below(list.length)] as T;
}

function someOf(
  random: Random,
  records: readonly (readonly [string, readonly string[]])[],
  count: number,
): Record<string, string> {
  const chosen = Array.from({ length: count }, () => pick(random, records));
  return Object.fromEntries(chosen.map(([key, values]) => [key, pick(random, values)]));
}

function randomEntry(random: Random): BuiltEntry {
  const isSparse = random.below(8) === 0;
  const records = {
    ...someOf(random, randomRecords, 1 + random.below(2)),
    ...(isSparse ? someOf(random, sparseRecords, 6) : {}),
  };
  switch (random.below(10)) {
    case 0:
      return global(records);
    case 1:
      return meta("x", paxContent(records));
    case 2:
      return long(pick(random, ["long", "long/", ""]));
    case 3:
      return meta("K", "longlink\0");
    default:
  }
  const map = pick(random, ["1\n0\n3\n", "0\n", "1\n7\n3\n"]).padEnd(512, "\0");
  const data = isSparse
    ? pick(random, ["abc", `${map}abc`, map])
    : pick(random, ["", "abc", smuggled]);
  return {
    name: pick(random, ["f", "f/", "d/e"]),
    type: pick(random, ["0", "0", "0", "\0", "\0", "1", "2", "5", "6", "4"]),
    linkName: "t",
    minor: 1,
    data,
    magic: pick(random, [gnuMagic, "ustar\x0000", v7Magic]),
    raw: pick(random, [{}, {}, { 345: "pre" }]),
    ...(isSparse || random.below(3) === 0 ? { pax: records } : {}),
    ...(random.below(8) === 0 ? { size: pick(random, [0, 3, 512, 1024]) } : {}),
  };
}
