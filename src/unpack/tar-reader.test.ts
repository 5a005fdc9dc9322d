import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { linkSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { isKind, RuntimeError } from "../base/errors.ts";
import { layerPath } from "./layer-files.ts";
import type { TarLimits } from "./tar-reader.ts";
import { Random } from "./testing/random.ts";
import { type Found, readArchive } from "./testing/read-archive.ts";
import {
  type BuiltEntry,
  buildEntry,
  buildTar,
  gnuMagic,
  paxContent,
  seal,
} from "./testing/tar-builder.ts";

const read = readArchive;

function readBuilt(...entries: readonly BuiltEntry[]): readonly Found[] {
  return read([buildTar(entries)]);
}

function refusal(bytes: Buffer, limits?: TarLimits): RuntimeError {
  try {
    read([bytes], limits);
  } catch (error) {
    assert.ok(error instanceof RuntimeError, String(error));
    return error;
  }
  assert.fail("it was taken");
}

const directory = mkdtempSync(join(tmpdir(), "davit-tar-"));
const longName = `${"d".repeat(120)}/${"f".repeat(180)}`;
const recorded = new Map<string, Buffer>();

before(() => {
  const tree = join(directory, "tree");
  mkdirSync(join(tree, "d".repeat(120)), { recursive: true });
  writeFileSync(join(tree, longName), "long");
  writeFileSync(join(tree, "a"), "a".repeat(1500));
  writeFileSync(join(tree, "empty"), "");
  linkSync(join(tree, "a"), join(tree, "b"));
  symlinkSync("s".repeat(150), join(tree, "link"));
  for (const format of ["gnu", "pax", "oldgnu"]) {
    const args = [
      "-c",
      `--format=${format}`,
      "--sort=name",
      "--mtime=@1234567890.5",
      "-C",
      tree,
      ".",
    ];
    recorded.set(format, execFileSync("tar", args));
  }
});
after(() => rmSync(directory, { recursive: true }));

describe("archives of GNU tar", () => {
  for (const format of ["gnu", "pax", "oldgnu"]) {
    test(`${format}: names, links and times`, () => {
      const found = read([recorded.get(format) ?? Buffer.alloc(0)]);
      const named = new Map(found.map((entry) => [entry.path, entry]));
      assert.deepEqual(
        [...named.keys()],
        ["./", "./a", "./b", `./${"d".repeat(120)}/`, `./${longName}`, "./empty", "./link"],
      );
      assert.equal(named.get("./")?.type, "dir");
      assert.equal(
        named.get("./a")?.content,
        createHash("sha256").update("a".repeat(1500)).digest("hex"),
      );
      assert.deepEqual([named.get("./b")?.type, named.get("./b")?.linkPath], ["link", "./a"]);
      assert.equal(named.get("./link")?.linkPath, "s".repeat(150));
      const nanoseconds = format === "pax" ? 500_000_000 : 0;
      assert.deepEqual(named.get("./a")?.time, { seconds: 1_234_567_890, nanoseconds });
    });

    test(`${format}: any split of the bytes gives the same`, () => {
      const bytes = recorded.get(format) ?? Buffer.alloc(0);
      const whole = read([bytes]);
      for (let seed = 1; seed <= 40; seed++) {
        const random = new Random(seed);
        const longest = [1, 7, 511, 512, 513, 4000][seed % 6] ?? 1;
        assert.deepEqual(read(random.split(bytes, longest)), whole, `seed ${seed}`);
      }
    });

    test(`${format}: truncated anywhere, it is rejected, or only zeros are missing`, () => {
      const bytes = recorded.get(format) ?? Buffer.alloc(0);
      const whole = read([bytes]);
      for (let length = 0; length < bytes.length; length += 97) {
        try {
          const found = read([bytes.subarray(0, length)]);
          const cut = bytes.subarray(length, Math.ceil(length / 512) * 512);
          assert.ok(
            cut.every((byte) => byte === 0),
            `at ${length}`,
          );
          assert.deepEqual(found, whole.slice(0, found.length));
        } catch (error) {
          assert.ok(isKind(error, "invalid-argument"), `at ${length}: ${String(error)}`);
        }
      }
    });
  }

  test("damaged bytes are rejected with an error or read, and nothing else happens", () => {
    const bytes = recorded.get("pax") ?? Buffer.alloc(0);
    const seen = new Set<string>();
    for (let seed = 1; seed <= 1500; seed++) {
      const random = new Random(seed);
      const damaged = Buffer.from(bytes);
      for (let count = 0; count <= random.below(4); count++) {
        const at = random.below(damaged.length);
        damaged[at] = random.below(256);
        // With a correct checksum the fields themselves are checked.
        if (random.below(2) === 0) seal(damaged.subarray(at - (at % 512), at - (at % 512) + 512));
      }
      try {
        read([damaged]);
        seen.add("taken");
      } catch (error) {
        assert.ok(error instanceof RuntimeError, `seed ${seed}: ${String(error)}`);
        assert.notEqual(error.kind, "internal");
        seen.add(error.kind);
      }
    }
    assert.ok(seen.has("taken") && seen.has("invalid-argument"), [...seen].join());
  });

  test("random bytes are not an archive", () => {
    for (let seed = 1; seed <= 200; seed++) {
      assert.equal(refusal(new Random(seed).bytes(512 + (seed % 700))).kind, "invalid-argument");
    }
  });
});

describe("PAX", () => {
  test("path, linkpath, size, owner, time and xattrs replace those of the header", () => {
    const [found] = readBuilt({
      name: "short",
      data: "12345",
      size: 5,
      pax: {
        path: "dir/\xc3\xbc",
        uid: "3000000",
        gid: "4000000",
        mtime: "-1.25",
        "SCHILY.xattr.user.x": "a=b\n\x00\xff",
      },
    });
    assert.equal(found?.path, "dir/\xc3\xbc");
    assert.deepEqual([found.uid, found.gid], [3_000_000, 4_000_000]);
    assert.deepEqual(found.time, { seconds: -2, nanoseconds: 750_000_000 });
    assert.deepEqual([...found.xattrs], [["user.x", "a=b\n\x00\xff"]]);
  });

  test("its size is the size of the data", () => {
    const file = { name: "big", data: "x".repeat(700), size: 0, pax: { size: "700" } };
    const found = readBuilt(file, { name: "next" });
    assert.deepEqual(
      found.map(({ path, size }) => [path, size]),
      [
        ["big", 700],
        ["next", 0],
      ],
    );
  });

  test("global records have no effect, and an empty record does not change the value of the header", () => {
    const found = readBuilt(
      { name: "g", type: "g", data: paxContent({ uid: "7", mtime: "5", path: "g" }) },
      { name: "a", uid: 1 },
      { name: "b", uid: 2, pax: { uid: "8" } },
      { name: "c", uid: 3, pax: { uid: "" } },
    );
    assert.deepEqual(
      found.map(({ path, uid, time }) => [path, uid, time.seconds]),
      [
        ["a", 1, 1_000_000_000],
        ["b", 8, 1_000_000_000],
        ["c", 3, 1_000_000_000],
      ],
    );
  });

  for (const content of ["x", "5 a=b\n", "-7 a=b\n", "6 a=bc", "5 =ab\n", "999999999999 a=b\n"]) {
    test(`${JSON.stringify(content)} is not a header`, () => {
      const bytes = buildTar([{ name: "p", type: "x", data: content }, { name: "a" }]);
      assert.equal(refusal(bytes).kind, "invalid-argument");
    });
  }

  for (const [key, value] of [
    ["size", "-1"],
    ["uid", "1e3"],
    ["mtime", "soon"],
    ["path", "a\0b"],
  ]) {
    test(`${key} cannot be ${JSON.stringify(value)}`, () => {
      const bytes = buildTar([{ name: "a", pax: { [key ?? ""]: value ?? "" } }]);
      assert.equal(refusal(bytes).kind, "invalid-argument");
    });
  }
});

describe("headers", () => {
  test("numbers of 64 bits and negative times (GNU)", () => {
    const block = buildEntry({ name: "a" });
    block.fill(0xff, 136, 148); // -1
    block.fill(0, 108, 116);
    block[108] = 0x80;
    block.writeUInt32BE(4_000_000_000, 112);
    const [found] = read([seal(block), Buffer.alloc(1024)]);
    assert.deepEqual([found?.uid, found?.time.seconds], [4_000_000_000, -1]);
  });

  test("ustar's prefix, and a directory of V7", () => {
    const block = buildEntry({ name: "name" });
    block.write("some/prefix", 345, "latin1");
    const v7 = buildEntry({ name: "directory/", type: "\0" });
    v7.fill(0, 257, 512);
    const found = read([seal(block), seal(v7), Buffer.alloc(1024)]);
    assert.deepEqual(
      found.map(({ path, type }) => [path, type]),
      [
        ["some/prefix/name", "file"],
        ["directory/", "dir"],
      ],
    );
  });

  test("links have no data, whatever their size is", () => {
    const found = readBuilt({ name: "l", type: "1", linkName: "a", size: 9999 }, { name: "next" });
    assert.deepEqual(
      found.map(({ path }) => path),
      ["l", "next"],
    );
  });

  test("bytes after the end are ignored, an entry after one block of zeros is not", () => {
    const entry = buildEntry({ name: "a" });
    assert.equal(read([entry, Buffer.alloc(1024), Buffer.from("anything")]).length, 1);
    assert.equal(read([entry]).length, 1);
    const gap = Buffer.concat([entry, Buffer.alloc(512), entry]);
    assert.equal(refusal(gap).kind, "invalid-argument");
  });

  test("a sparse file has pieces with holes in between", () => {
    const pax = { "GNU.sparse.map": "4096,3,1000000,2,2000000,0", "GNU.sparse.numblocks": "3" };
    const [found, next] = readBuilt(
      { name: "s", data: "abcde", pax: { ...pax, "GNU.sparse.size": "2000000" } },
      { name: "next" },
    );
    assert.deepEqual([found?.size, found?.holes], [2_000_000, 1_999_995]);
    assert.equal(next?.path, "next");
  });

  test("the map of a sparse file has a limit", () => {
    const pax = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0" };
    const data = `400000\n${"0\n0\n".repeat(400_000)}`;
    assert.match(refusal(buildTar([{ name: "s", data, pax }])).message, /map .* larger than 1 MiB/);
    const block = Buffer.alloc(512);
    block[504] = 1;
    const extension = Buffer.concat(Array.from({ length: 2049 }, () => block));
    const raw = { 482: "\x01" };
    const old = buildTar([{ name: "s", type: "S", magic: gnuMagic, extension, raw }]);
    assert.match(refusal(old).message, /map .* larger than 1 MiB/);
  });

  test("wrong checksums, unknown types, invalid owners, empty names", () => {
    const damaged = buildTar([{ name: "a" }]);
    damaged[0] = 0x62;
    assert.match(refusal(damaged).message, /wrong checksum; is it a tar archive/);
    assert.match(refusal(buildTar([{ name: "a", type: "Z" }])).message, /unknown type "Z"/);
    assert.match(refusal(buildTar([{ name: "a", pax: { uid: "4294967295" } }])).message, /owner/);
    assert.match(refusal(buildTar([{ name: "" }])).message, /empty/);
    assert.match(refusal(buildTar([{ name: "a", type: "2" }])).message, /empty/);
  });
});

describe("limits", () => {
  const limits: TarLimits = { entries: 3, headerBytes: 100 };

  test("entries, headers of headers included", () => {
    const entries = ["a", "b", "c", "d"].map((name) => ({ name }));
    assert.equal(read([buildTar(entries.slice(1))], limits).length, 3);
    assert.equal(refusal(buildTar(entries), limits).kind, "resource-exhausted");
    const meta = Array.from({ length: 4 }, () => ({ name: "x", type: "x" }));
    assert.equal(refusal(buildTar(meta), limits).kind, "resource-exhausted");
  });

  test("a header that is too large is rejected before it is read", () => {
    const header = buildEntry({ name: "x", type: "x", size: 101 });
    assert.equal(refusal(header, limits).kind, "resource-exhausted");
    const long = refusal(buildEntry({ name: "x", type: "L", size: 2 ** 32 }));
    assert.equal(long.kind, "resource-exhausted");
  });

  test("a map of a sparse file, also in one line", () => {
    const pax = { "GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.size": "3" };
    const long = (blocks: number): Buffer =>
      buildTar([{ name: "f", data: `${"0".repeat(512 * blocks - 1)}\n`, pax }]);
    assert.equal(readArchive([long(2048)])[0]?.size, 3);
    assert.match(refusal(long(2049)).message, /larger than 1 MiB/);
  });

  test("names beyond PATH_MAX", () => {
    const bytes = buildTar([{ name: "a", pax: { path: "a/".repeat(2050) } }]);
    assert.equal(refusal(bytes).kind, "invalid-argument");
  });
});

describe("layerPath()", () => {
  for (const [name, path] of [
    ["./", "/"],
    ["a//b/./c/", "/a/b/c"],
    ["/etc/passwd", "/etc/passwd"],
    ["a/../b", "/b"],
    ["...", "/..."],
  ]) {
    test(`${name} is ${path}`, () => assert.equal(layerPath(name ?? ""), path));
  }

  for (const name of ["..", "../a", "/..", "a/../../b", "a/b/../../../c"]) {
    test(`${name} leads out`, () => {
      assert.throws(() => layerPath(name), /leads out of the layer/);
    });
  }
});
