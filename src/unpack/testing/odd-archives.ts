import {
  type Entries,
  global,
  last,
  long,
  meta,
  octal,
  smuggled,
  smuggledEntry,
} from "./odd-entries.ts";
import { sparse } from "./odd-sparse.ts";
import { base256, buildEntry, buildTar, gnuMagic, paxContent, v7Magic } from "./tar-builder.ts";

const plain: Readonly<Record<string, Entries>> = {
  "each type": [
    { name: "d/", type: "5", mode: 0o1777 },
    { name: "d/f", data: "content", mode: 0o4755, uid: 1, gid: 2 },
    { name: "d/l", type: "1", linkName: "d/f" },
    { name: "s", type: "2", linkName: "../nowhere" },
    { name: "c", type: "3", major: 1, minor: 3 },
    { name: "b", type: "4", major: 259, minor: 70_000 },
    { name: "p", type: "6" },
    last,
  ],
  "names of the whole field": [
    { name: "n".repeat(100) },
    { name: "l", type: "2", linkName: "t".repeat(100) },
    last,
  ],
  "names of bytes": [{ name: "\xff\xfe \n\t\x01" }, { name: "\xc3\xbc" }, last],
  "unknown types": [{ name: "z", type: "Z", data: "abc" }, last],
  "a contiguous file": [{ name: "c", type: "7", data: "abc" }, last],
  "a label": [{ name: "label", type: "V" }, last],
  "a label with a size": [{ name: "label", type: "V", data: smuggled }, last],
  "an incremental directory": [{ name: "d", type: "D", data: "Yfile\0\0" }, last],
};

const directories: Readonly<Record<string, Entries>> = {
  "V7: a directory is a file with a slash": [{ name: "d/", type: "\0", magic: v7Magic }, last],
  "V7: a directory has no data": [{ name: "d/", type: "\0", data: smuggled }, last],
  "V7: a directory with a size and no data": [{ name: "d/", type: "\0", size: 1024 }, last],
  "V7: by the name of a PAX record": [
    { name: "f", type: "\0", data: smuggled, pax: { path: "d/" } },
    last,
  ],
  "V7: a record takes the slash away": [
    { name: "d/", type: "\0", data: "abc", pax: { path: "f" } },
    last,
  ],
  "a file with a slash": [{ name: "dirx/", data: smuggled }, last],
  "a file with a slash, PAX has the size": [
    { name: "dirx/", data: smuggled, size: 0, pax: { size: "1024" } },
    last,
  ],
  "a file with a slash, PAX takes the size": [
    { name: "dirx/", size: 1024, pax: { size: "0" } },
    smuggledEntry,
    last,
  ],
};

const sizes: Readonly<Record<string, Entries>> = Object.fromEntries([
  ...["1", "2", "3", "4", "5", "6"].flatMap((type) => [
    [
      `size of type ${type} in its header`,
      [{ name: "a", type, linkName: "t", minor: 1, size: 1024 }, smuggledEntry, last],
    ],
    [
      `size of type ${type} in PAX`,
      [{ name: "a", type, linkName: "t", minor: 1, pax: { size: "1024" } }, smuggledEntry, last],
    ],
  ]),
  ["PAX size of a file", [{ name: "a", data: smuggled, size: 0, pax: { size: "1024" } }, last]],
  ["PAX size of nothing", [{ name: "a", data: "abc", pax: { size: "" } }, last]],
  ["PAX size with a sign", [{ name: "a", data: "abc", size: 0, pax: { size: "+3" } }, last]],
  ["PAX size below 0", [{ name: "a", pax: { size: "-1" } }, last]],
  ["invalid PAX size", [{ name: "a", type: "5", pax: { size: "1e3" } }, last]],
  [
    "a size below 0 of a directory",
    [{ name: "a", type: "5", raw: { 124: base256(-5n, 12) } }, last],
  ],
  ["a size below 0 of a file", [{ name: "a", raw: { 124: base256(-5n, 12) } }, last]],
  ["a size in base 256", [{ name: "a", data: "abc", raw: { 124: base256(3n, 12) } }, last]],
]) as Readonly<Record<string, Entries>>;

const metas: Readonly<Record<string, Entries>> = {
  "global records": [
    global({
      path: "gfile",
      linkpath: "/etc/shadow",
      size: "1024",
      uid: "7",
      mtime: "5",
      "SCHILY.xattr.security.capability": "x",
    }),
    { name: "a", data: "abc" },
    { name: "l", type: "2", linkName: "t" },
    last,
  ],
  "global records end the records before them": [
    { ...meta("x", paxContent({ path: "evil" })) },
    long("evil-too"),
    meta("K", "evil-link\0"),
    global({ comment: "hello" }),
    { name: "a", type: "2", linkName: "t" },
    last,
  ],
  "invalid global records": [meta("g", "what"), last],
  "records twice: the last header counts": [
    meta("x", paxContent({ path: "one", uid: "5" })),
    meta("x", paxContent({ path: "two" })),
    { name: "a" },
    last,
  ],
  "a long name and a record": [meta("x", paxContent({ path: "record" })), long("long"), last, last],
  "a record and a long name": [long("long"), meta("x", paxContent({ path: "record" })), last, last],
  "a long link and a record": [
    meta("x", paxContent({ linkpath: "record" })),
    meta("K", "long\0"),
    { name: "a", type: "1", linkName: "header" },
    last,
  ],
  "a long name twice": [long("one"), long("two"), last, last],
  "long names that are empty": [
    long(""),
    meta("K", ""),
    { name: "a", type: "2", linkName: "t", pax: { path: "" } },
    last,
  ],
  "a long name with more behind its end": [meta("L", "long\0er"), last, last],
  "a long name without an end": [meta("L", "long"), last, last],
  "a long name for a directory": [long("d/"), { name: "f", type: "\0", data: smuggled }, last],
  "records at the end": [last, meta("x", paxContent({ path: "a" }))],
  "records: zeros and a sign before the length": [
    meta("x", "0010 uid=7\n"),
    { name: "a" },
    meta("x", "+9 uid=8\n"),
    { name: "b" },
    last,
  ],
  "records: the last of one key": [
    {
      name: "a",
      pax: [
        ["uid", "1"],
        ["uid", "2"],
      ],
    },
    last,
  ],
  "records: an equals sign in a value": [{ name: "a", pax: { path: "b=c" } }, last],
  "records: a NUL in a name": [{ name: "a", pax: { path: "b\0c" } }, last],
  "records: a NUL in an owner's name": [{ name: "a", pax: { uname: "b\0c" } }, last],
  "records: a NUL in a key": [{ name: "a", pax: { "b\0c": "d" } }, last],
  "records: a NUL in a comment": [{ name: "a", pax: { comment: "b\0c" } }, last],
  "records without a key": [meta("x", "5 =a\n"), last],
  "records cut off": [meta("x", "20 path=abc\n"), last],
  "times: decimals": [
    { name: "a", pax: { mtime: "1.5" } },
    { name: "b", pax: { mtime: "-1.25" } },
    { name: "c", pax: { mtime: "7." } },
    { name: "d", pax: { mtime: "1.1234567899" } },
    { name: "e", pax: { mtime: "-0.5" } },
    { name: "f", pax: { mtime: "+3" } },
    last,
  ],
  "times: no seconds": [{ name: "a", pax: { mtime: ".5" } }, last],
  "times: no access time": [{ name: "a", pax: { atime: "soon" } }, last],
  "times: no change time": [{ name: "a", pax: { ctime: "1.x" } }, last],
  "owners by PAX": [{ name: "a", pax: { uid: "3000000", gid: "4294967294", uname: "x" } }, last],
  attributes: [
    {
      name: "a",
      pax: {
        "SCHILY.xattr.user.one": "a=b\n\x00\xff",
        "SCHILY.xattr.user.empty": "",
        "LIBARCHIVE.xattr.user.two": "YQ",
        "SCHILY.acl.access": "user::rw-",
      },
    },
    last,
  ],
};

const headers: Readonly<Record<string, Entries>> = {
  "a prefix": [{ name: "name", raw: { 345: "some/prefix" } }, last],
  "a prefix, star's": [
    { name: "name", raw: { 345: "p".repeat(131), 476: octal(1), 488: octal(2), 508: "tar\0" } },
    last,
  ],
  "a prefix, star's, without times": [
    { name: "name", raw: { 345: "p".repeat(155), 508: "tar\0" } },
    last,
  ],
  "a prefix, V7": [{ name: "name", magic: v7Magic, raw: { 345: "prefix" } }, last],
  "a prefix, GNU": [{ name: "name", magic: gnuMagic, raw: { 345: "some/prefix" } }, last],
  "a prefix, GNU, of bytes": [{ name: "name", magic: gnuMagic, raw: { 345: "pr\xff" } }, last],
  "GNU's times": [
    { name: "name", magic: gnuMagic, raw: { 345: octal(5), 357: base256(-7n, 12) } },
    last,
  ],
  "GNU's times, enormous": [
    { name: "name", magic: gnuMagic, raw: { 345: octal(5), 357: base256(2n ** 60n, 12) } },
    last,
  ],
  "numbers with blanks": [
    { name: "a", data: "abc", raw: { 100: " 0644 \0 ", 124: "          3 " } },
    last,
  ],
  "numbers with NULs before them": [{ name: "a", raw: { 100: "\0\0 755 \0" } }, last],
  "numbers with more behind a NUL": [{ name: "a", raw: { 100: "644\x00999" } }, last],
  "numbers with more behind a blank": [{ name: "a", raw: { 100: "644 755\0" } }, last],
  "invalid numbers": [{ name: "a", raw: { 108: "9999999\0" } }, last],
  "numbers with a sign": [{ name: "a", raw: { 124: "-0000000001\0" } }, last],
  "empty numbers": [{ name: "a", raw: { 100: "\0".repeat(8), 136: " ".repeat(12) } }, last],
  "an invalid device number, of a file": [{ name: "a", raw: { 329: "device?\0" } }, last],
  "an invalid device number, V7": [{ name: "a", magic: v7Magic, raw: { 329: "device?\0" } }, last],
  "times before 1970": [{ name: "a", raw: { 136: base256(-1n, 12) } }, last],
  "permissions with more bits": [{ name: "a", raw: { 100: "0107777\0" } }, last],
  "permissions below 0": [{ name: "a", raw: { 100: base256(-1n, 8) } }, last],
  "owners of 32 bits": [{ name: "a", raw: { 108: base256(2n ** 32n - 2n, 8) } }, last],
  "owner -1": [{ name: "a", raw: { 108: base256(-1n, 8) } }, last],
  "owner 2^32": [{ name: "a", raw: { 108: base256(2n ** 32n, 8) } }, last],
  "owner 2^55 and 1": [{ name: "a", raw: { 116: base256(2n ** 55n + 1n, 8) } }, last],
  "the last device": [{ name: "a", type: "3", major: 4095, minor: 1_048_575 }, last],
  "a device of 33 bits": [
    { name: "a", type: "3", raw: { 329: base256(2n ** 32n, 8), 337: base256(2n ** 32n, 8) } },
    last,
  ],
  "a major above 12 bits": [{ name: "a", type: "4", major: 4096, minor: 1 }, last],
  "a minor above 20 bits": [{ name: "a", type: "4", major: 1, minor: 1_048_576 }, last],
  "a device below 0": [{ name: "a", type: "3", raw: { 329: base256(-1n, 8) } }, last],
  "a device, V7": [{ name: "a", type: "4", magic: v7Magic, major: 8, minor: 1 }, last],
  "a checksum that is wrong": [{ name: "a", raw: { 148: "0000001\0" } }, last],
};

const whole = buildTar([{ name: "a", data: "abc" }]);
const entry = buildEntry({ name: "a", data: "abc" });
const zero = Buffer.alloc(512);

const ends: Readonly<Record<string, Buffer>> = {
  "nothing at all": Buffer.alloc(0),
  "no blocks of zeros": entry,
  "one block of zeros": Buffer.concat([entry, zero]),
  "an entry behind one block of zeros": Buffer.concat([entry, zero, entry]),
  "anything behind two": Buffer.concat([whole, entry, Buffer.from("x")]),
  "no padding": entry.subarray(0, 512 + 3),
  "part of the padding": entry.subarray(0, 512 + 100),
  "no data": entry.subarray(0, 512),
  "part of the data": entry.subarray(0, 512 + 2),
  "part of a header": Buffer.concat([entry, entry.subarray(0, 100)]),
};

/** Archives that readers may read differently, by their peculiarity. */
export const oddArchives: ReadonlyMap<string, Buffer> = new Map([
  ...Object.entries({ ...plain, ...directories, ...sizes, ...metas, ...headers, ...sparse }).map(
    ([name, entries]) => [name, buildTar(entries)] as const,
  ),
  ...Object.entries(ends),
]);
