import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";

import { type Digest, hexOf } from "../../base/digest.ts";
import { type ErrorKind, isKind, kindOf } from "../../base/errors.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { makeNode, setAttributes, setXattr } from "../../linux/file/index.ts";
import { childPids, openFds, until } from "../../linux/testing/leaks.ts";
import { nodeProgram } from "../../linux/testing/node.ts";
import { type BuiltEntry, buildEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { describeTree, digestOf, sourceOf, TestSnapshots } from "./testing/layers.ts";
import { defaultUnpackerCommand, unpackBlob } from "./unpacker.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-layers-"));
const victim = join(directory, "victim");
let fixture: TestSnapshots;
let count = 0;

beforeEach(async () => {
  fixture = await TestSnapshots.open(join(directory, `root-${count++}`));
});
afterEach(async () => {
  await fixture[Symbol.asyncDispose]();
  assert.deepEqual(childPids(), []);
});
after(() => rmSync(directory, { recursive: true }));

function filesOf(diffId: Digest): string {
  return join(fixture.root, "layers", hexOf(diffId), "fs");
}

/** The layers directory holds nothing but what was asked for. */
function assertNothingLeft(): void {
  assert.deepEqual(readdirSync(join(fixture.root, "layers")), [".empty"]);
  assert.deepEqual(fixture.snapshots.layers(), []);
}

async function assertRefused(
  source: LayerSource,
  kind: ErrorKind,
  message: RegExp,
  signal = never,
): Promise<void> {
  await assert.rejects(fixture.snapshots.unpackLayer(source, signal), (error) => {
    assert.match(String(error), message);
    assert.equal(kindOf(error), kind);
    return true;
  });
  assertNothingLeft();
}

describe("an archive that GNU tar made of everything", () => {
  const tree = join(directory, "everything");
  let tar: Buffer;
  let extracted: Buffer;

  before(() => {
    mkdirSync(join(tree, "dir/below"), { recursive: true });
    const at = (name: string): string => join(tree, name);
    const time = (seconds: number, nanoseconds: number) => ({ seconds, nanoseconds });
    writeFileSync(at("file"), "x".repeat(100_000));
    writeFileSync(at("dir/below/\u00fc \n"), "umlaut");
    writeFileSync(
      Buffer.concat([Buffer.from(at("bytes-")), Buffer.from([0xff, 0xfe])]),
      "no utf-8",
    );
    writeFileSync(at("empty"), "");
    linkSync(at("file"), at("dir/hard"));
    symlinkSync("/etc/passwd", at("absolute"));
    symlinkSync("nowhere", at("dir/dangling"));
    linkSync(at("dir/dangling"), at("hard-to-symlink"));
    const deep = join(tree, "d".repeat(200), "e".repeat(200));
    mkdirSync(deep, { recursive: true });
    writeFileSync(join(deep, "f".repeat(255)), "deep");
    makeNode(at("fifo"), 0o010600);
    makeNode(at("char"), 0o020600, 1, 3);
    makeNode(at("block"), 0o060600, 259, 70_000);
    writeFileSync(at("setuid"), "#!");
    setAttributes(at("setuid"), { uid: 1000, gid: 2000, mode: 0o6711, time: time(1, 1) });
    setAttributes(at("fifo"), { uid: 4_000_000_000, gid: 5, mode: 0o640, time: time(-5, 123) });
    setAttributes(at("absolute"), { uid: 7, gid: 8, mode: undefined, time: time(99, 999_999_999) });
    writeFileSync(at("capable"), "");
    // cap_net_raw+ep, revision 2, as the kernel stores it.
    const caps = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    setXattr(at("capable"), "security.capability", caps);
    setXattr(at("file"), "user.text", "a value\n= with \xff bytes");
    setXattr(at("dir"), "user.of-a-directory", "x".repeat(2000));
    setAttributes(at("dir/below"), { uid: 3, gid: 4, mode: 0o1777, time: time(1e9, 5) });
    setAttributes(at("dir"), {
      uid: 3,
      gid: 4,
      mode: 0o2750,
      time: time(2_000_000_000, 987_654_321),
    });
    setAttributes(tree, { uid: 11, gid: 12, mode: 0o711, time: time(1_500_000_000, 1) });
    const options = ["--format=pax", "--xattrs", "--xattrs-include=*", "--numeric-owner"];
    tar = execFileSync("tar", [...options, "-C", tree, "-c", "."], { maxBuffer: 2 ** 28 });

    const byTar = join(directory, "by-tar");
    mkdirSync(byTar);
    execFileSync(
      "tar",
      ["--xattrs", "--xattrs-include=*", "-p", "--numeric-owner", "-C", byTar, "-x"],
      {
        input: tar,
      },
    );
    extracted = describeTree(byTar);
    assert.ok(extracted.equals(describeTree(tree)), "tar does not bring back what it packed");
  });

  for (const [name, compress] of [
    ["plain", (bytes: Buffer) => bytes],
    ["gzip", (bytes: Buffer) => gzipSync(bytes)],
    ["zstd", (bytes: Buffer) => zstdCompressSync(bytes)],
  ] as const) {
    test(`${name}: every attribute is as GNU tar extracts it`, async () => {
      const source = sourceOf(tar, compress(tar));
      await fixture.snapshots.unpackLayer(source, never);
      assert.ok(fixture.snapshots.hasLayer(source.diffId));
      assert.ok(describeTree(filesOf(source.diffId)).equals(extracted));
      const files = filesOf(source.diffId);
      assert.equal(statSync(join(files, "file")).ino, statSync(join(files, "dir/hard")).ino);
      const du = execFileSync("du", ["-s", "--block-size=1", files], { encoding: "utf8" });
      const inodes = execFileSync("du", ["-s", "--inodes", files], { encoding: "utf8" });
      assert.deepEqual(fixture.snapshots.layersUsage(), {
        bytes: BigInt(Number.parseInt(du, 10)),
        inodes: BigInt(Number.parseInt(inodes, 10)),
      });
    });
  }

  test("the old formats of GNU tar, as far as they go", async () => {
    const plain = join(directory, "plain");
    mkdirSync(join(plain, "n".repeat(80)), { recursive: true });
    writeFileSync(join(plain, "n".repeat(80), "file"), "content");
    linkSync(join(plain, "n".repeat(80), "file"), join(plain, "link"));
    for (const format of ["gnu", "oldgnu", "ustar"]) {
      const args = [`--format=${format}`, "--mtime=@77", "-C", plain, "-c", "."];
      const source = sourceOf(execFileSync("tar", args));
      await fixture.snapshots.unpackLayer(source, never);
      const byTar = join(directory, `by-tar-${format}`);
      mkdirSync(byTar);
      execFileSync("tar", ["-p", "-C", byTar, "-x"], {
        input: execFileSync("tar", args),
      });
      assert.ok(describeTree(filesOf(source.diffId)).equals(describeTree(byTar)), format);
    }
  });

  test("the command line starts it, too", async () => {
    const other = join(directory, "by-command-line");
    const unpacker = { ...defaultUnpackerCommand(), file: nodeProgram };
    await using real = await TestSnapshots.open(other, { unpacker });
    const diffId = await real.layer({ name: "file", data: "content" });
    const path = join(other, "layers", hexOf(diffId), "fs/file");
    assert.equal(readFileSync(path, "utf8"), "content");
  });
});

describe("entries of one archive that meet", () => {
  const file = (name: string, data = name): BuiltEntry => ({ name, data });
  const dir = (name: string): BuiltEntry => ({ name, type: "5", mode: 0o755 });

  test("the later one replaces the earlier, whatever both are", async () => {
    const diffId = await fixture.layer(
      dir("a"),
      file("a/b"),
      file("a", "was a directory"),
      file("c"),
      dir("c"),
      file("c/d"),
      { name: "e", type: "2", linkName: "c" },
      file("e", "was a symlink"),
      file("f"),
      { name: "f", type: "2", linkName: "c" },
      dir("g"),
      file("g/h"),
      { ...dir("g"), mode: 0o700, seconds: 42 },
    );
    const files = filesOf(diffId);
    assert.equal(readFileSync(join(files, "a"), "utf8"), "was a directory");
    assert.deepEqual(readdirSync(join(files, "c")), ["d"]);
    assert.equal(readFileSync(join(files, "e"), "utf8"), "was a symlink");
    assert.equal(readlinkSync(join(files, "f")), "c");
    assert.deepEqual(readdirSync(join(files, "g")), ["h"]);
    const { mode, mtimeMs } = statSync(join(files, "g"));
    assert.deepEqual([mode & 0o7777, mtimeMs], [0o700, 42_000]);
  });

  test("missing parents are made, 0755 and of root; a hard link to itself stays", async () => {
    const diffId = await fixture.layer(file("x/y/z"), {
      name: "x/y/z",
      type: "1",
      linkName: "./x/y/../y/z",
    });
    const { mode, uid, gid } = statSync(join(filesOf(diffId), "x/y"));
    assert.deepEqual([mode & 0o7777, uid, gid], [0o755, 0, 0]);
    assert.equal(readFileSync(join(filesOf(diffId), "x/y/z"), "utf8"), "x/y/z");
  });

  test("a device, a fifo or a symlink at the name is replaced, never written to", async () => {
    const diffId = await fixture.layer(
      { name: "null", type: "3", major: 1, minor: 3 },
      file("null", "file"),
      { name: "pipe", type: "6" },
      file("pipe", "file"),
      { name: "passwd", type: "2", linkName: victim },
      file("passwd", "file"),
    );
    for (const name of ["null", "pipe", "passwd"]) {
      const path = join(filesOf(diffId), name);
      assert.ok(lstatSync(path).isFile());
      assert.equal(readFileSync(path, "utf8"), "file");
    }
  });

  test("a symbolic link on the way is followed, inside the layer", async () => {
    const diffId = await fixture.layer(
      dir("usr"),
      dir("usr/lib"),
      { name: "lib", type: "2", linkName: "/usr/lib" },
      file("lib/file"),
      { name: "up", type: "2", linkName: "../../../../usr" },
      file("up/other"),
    );
    assert.deepEqual(readdirSync(join(filesOf(diffId), "usr/lib")), ["file"]);
    assert.ok(existsSync(join(filesOf(diffId), "usr/other")));
  });
});

describe("archives that want out", () => {
  const inside = join(victim, "file");
  before(() => {
    mkdirSync(victim);
    writeFileSync(inside, "untouched");
  });
  afterEach(() => {
    assert.deepEqual(readdirSync(victim), ["file"]);
    assert.equal(readFileSync(inside, "utf8"), "untouched");
    assert.equal(statSync(inside).nlink, 1);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.includes("evil")),
      [],
    );
  });

  for (const [what, entries] of [
    ["a name with ..", [{ name: "../../../../evil" }]],
    ["a name that goes in and out", [{ name: "a/../../../../evil" }]],
    ["a whiteout with ..", [{ name: "../../../.wh.evil" }]],
    ["an opaque mark with ..", [{ name: "../.wh..wh..opq" }]],
    ["a directory with ..", [{ name: "..", type: "5", mode: 0o777 }]],
    [
      "a hard link with ..",
      [{ name: "evil", type: "1", linkName: `../../../../..${victim}/file` }],
    ],
    [
      "a loop of symlinks",
      [
        { name: "a", type: "2", linkName: "b" },
        { name: "b", type: "2", linkName: "a" },
        { name: "a/evil", data: "x" },
      ],
    ],
    [
      "the root replaced by a symlink",
      [{ name: "./", type: "2", linkName: victim }, { name: "evil" }],
    ],
    ["whiteouts of nothing", [{ name: ".wh..." }]],
    ["a whiteout without a name", [{ name: "a/.wh." }]],
    ["a name longer than the kernel takes", [{ name: "x", pax: { path: "e".repeat(256) } }]],
    ["a file below a file", [{ name: "a" }, { name: "a/evil" }]],
    [
      "an attribute that the kernel refuses",
      [{ name: "a", pax: { "SCHILY.xattr.security.capability": "x" } }],
    ],
  ] as const satisfies readonly (readonly [string, readonly BuiltEntry[]])[]) {
    test(`${what} is refused`, async () => {
      await assertRefused(sourceOf(buildTar(entries)), "invalid-argument", /unpack layer "sha256:/);
    });
  }

  for (const [what, entries, made] of [
    [
      "a file through an absolute symlink",
      [
        { name: "out", type: "2", linkName: victim },
        { name: "out/evil", data: "x" },
      ],
      join(victim, "evil"),
    ],
    [
      "a file through a relative symlink",
      [
        { name: "out", type: "2", linkName: `../../../../../..${victim}` },
        { name: "out/evil", data: "x" },
      ],
      join(victim, "evil"),
    ],
    [
      "a file through a hard link to a symlink",
      [
        { name: "out", type: "2", linkName: inside },
        { name: "same", type: "1", linkName: "out" },
        { name: "same/evil", data: "x" },
      ],
      join(inside, "evil"),
    ],
    [
      "an opaque mark through a symlink",
      [{ name: "out", type: "2", linkName: victim }, { name: "out/evil/.wh..wh..opq" }],
      join(victim, "evil"),
    ],
    [
      "a whiteout through a symlink",
      [{ name: "out", type: "2", linkName: victim }, { name: "out/.wh.evil" }],
      join(victim, "evil"),
    ],
  ] as const satisfies readonly (readonly [string, readonly BuiltEntry[], string])[]) {
    test(`${what} is made inside`, async () => {
      const diffId = await fixture.layer(...entries);
      assert.ok(lstatSync(join(filesOf(diffId), made)));
    });
  }

  for (const [what, entries] of [
    ["a hard link to an absolute name", [{ name: "evil", type: "1", linkName: inside }]],
    [
      "a hard link through a symlink",
      [
        { name: "out", type: "2", linkName: victim },
        { name: "evil", type: "1", linkName: "out/file" },
      ],
    ],
  ] as const satisfies readonly (readonly [string, readonly BuiltEntry[]])[]) {
    test(`${what} leads to lower layers at most`, async () => {
      const diffId = await fixture.layer(...entries);
      assert.ok(!existsSync(join(filesOf(diffId), "evil")));
      await assert.rejects(fixture.snapshots.completeLayers([diffId], never), (error) => {
        assert.match(String(error), /link "\/evil" to ".*\/file".*: no layer below has it/);
        return isKind(error, "invalid-argument");
      });
      await assert.rejects(fixture.snapshots.mount("c1", [diffId]), /is not here, pull the image/);
    });
  }

  test("an absolute name and a leading slash in a link stay in the layer", async () => {
    const diffId = await fixture.layer(
      { name: join(victim, "evil"), data: "inside" },
      { name: "link", type: "1", linkName: join(victim, "evil") },
    );
    assert.equal(readFileSync(join(filesOf(diffId), "link"), "utf8"), "inside");
    assert.ok(existsSync(join(filesOf(diffId), victim, "evil")));
  });

  test("no device becomes a whiteout, and no link to one", async () => {
    const device = { name: "a", type: "3", major: 0, minor: 0 };
    await assertRefused(sourceOf(buildTar([device])), "invalid-argument", /device 0:0/);
    const link = [{ name: "d/.wh.a" }, { name: "b", type: "1", linkName: "d/a" }];
    await assertRefused(sourceOf(buildTar(link)), "invalid-argument", /there is no "\/d\/a"/);
  });

  test("attributes that only overlayfs may set are left out", async () => {
    const diffId = await fixture.layer({
      name: "dir",
      type: "5",
      pax: { "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.fine": "yes" },
    });
    const told = describeTree(filesOf(diffId)).toString("latin1");
    assert.ok(!told.includes("trusted.overlay"));
    assert.ok(told.includes("user.fine=yes"));
  });

  test("random archives write nothing outside, and never hang", async () => {
    const words = ["..", ".", "a", "b", "a/..", victim, "/", "evil", ".wh.a", ".wh..wh..opq"];
    const types = ["0", "1", "2", "5", "6"];
    for (let seed = 0; seed < 12; seed++) {
      const pick = (list: readonly string[], at: number): string =>
        list[(seed * 7919 + at * 104_729 + ((seed * at) % 13)) % list.length] ?? "";
      const entries = Array.from({ length: 60 }, (_, at) => ({
        name: [pick(words, at), pick(words, at + 1), pick(words, at * 3 + 2)]
          .join("/")
          .slice(0, 99),
        type: pick(types, at * 5),
        linkName: `${pick(words, at * 11)}/${pick(words, at * 17)}`.slice(0, 99),
        data: "",
      }));
      // Names that lead out end the whole archive: without them it comes further.
      const milder = entries.filter(({ name, linkName }) => !`${name}${linkName}`.includes(".."));
      for (const archive of [entries, milder]) {
        await fixture.snapshots
          .unpackLayer(sourceOf(buildTar(archive)), never)
          .catch((error: unknown) => {
            assert.ok(isKind(error, "invalid-argument"), String(error));
          });
      }
    }
  });
});

describe("blobs that are not what they should be", () => {
  const tar = buildTar([{ name: "file", data: "x".repeat(100_000) }]);
  const blob = gzipSync(tar);
  const other = digestOf(Buffer.from("other"));

  test("wrong digests, sizes and bytes leave nothing", async () => {
    const right = sourceOf(tar, blob);
    await assertRefused(
      { ...right, blob: { ...right.blob, digest: other } },
      "data-loss",
      /came with other bytes/,
    );
    await assertRefused(
      { ...sourceOf(tar, blob), diffId: other },
      "data-loss",
      /does not hold the layer/,
    );
    const short = sourceOf(tar, blob);
    await assertRefused(
      { ...short, blob: { ...short.blob, sizeBytes: 10n } },
      "data-loss",
      /longer than its 10 bytes/,
    );
    const damaged = Buffer.from(blob);
    damaged.fill(0x55, 20, 60);
    await assertRefused(
      { ...sourceOf(tar, blob), chunks: sourceOf(damaged).chunks },
      "data-loss",
      /came with other bytes/,
    );
    await assertRefused(
      { ...sourceOf(tar, blob), chunks: sourceOf(blob.subarray(0, 90)).chunks },
      "data-loss",
      /came with other bytes/,
    );
  });

  test("a broken archive with the right digest is the image's fault", async () => {
    await assertRefused(sourceOf(Buffer.alloc(3000, "no tar ")), "invalid-argument", /is it a tar/);
    const cut = blob.subarray(0, 100);
    await assertRefused(sourceOf(cut, cut), "invalid-argument", /decompress: /);
    const half = tar.subarray(0, 50_000);
    await assertRefused(sourceOf(half), "invalid-argument", /in the middle of an entry/);
  });

  test("the source's own failure comes through as it is", async () => {
    const failure = new Error("the registry went away");
    async function* chunks(): AsyncGenerator<Buffer> {
      yield blob.subarray(0, 50);
      throw failure;
    }
    const call = fixture.snapshots.unpackLayer({ ...sourceOf(tar, blob), chunks: chunks() }, never);
    await assert.rejects(call, (error) => error === failure);
    assertNothingLeft();
  });
});

describe("an unpack that ends early", () => {
  /** A source that gives the beginning of a large archive and then waits forever. */
  function endless(returned: () => void): LayerSource {
    const head = Buffer.concat([
      buildEntry({ name: "small", data: "made" }),
      buildEntry({ name: "large", size: 2 ** 30 }),
      Buffer.alloc(3_000_000, 1),
    ]);
    const chunks: AsyncIterable<Buffer> = {
      [Symbol.asyncIterator]: () => {
        let given = false;
        return {
          next: async () => {
            if (given) await Promise.withResolvers<undefined>().promise;
            given = true;
            return { done: false as const, value: head };
          },
          return: async () => {
            returned();
            return { done: true as const, value: undefined };
          },
        };
      },
    };
    return { ...sourceOf(head), blob: { ...sourceOf(head).blob, sizeBytes: 2n ** 31n }, chunks };
  }

  function halfMade(): readonly string[] {
    const layers = join(fixture.root, "layers");
    return readdirSync(layers)
      .filter((name) => name.startsWith(".new-"))
      .map((name) => join(layers, name, "fs"));
  }

  function hasBegun(): boolean {
    return halfMade().some((path) => existsSync(join(path, "large")));
  }

  test("aborted: the process is gone, the directory too, the source is left", async () => {
    const controller = new AbortController();
    let returned = false;
    const source = endless(() => {
      returned = true;
    });
    const call = fixture.snapshots.unpackLayer(source, controller.signal);
    await until("the large file is there", hasBegun);
    assert.equal(childPids().length, 1);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(call, (error) => error === reason);
    assertNothingLeft();
    assert.deepEqual(childPids(), []);
    assert.ok(returned);
    await assertRefused(
      endless(() => undefined),
      "unknown",
      /enough/,
      controller.signal,
    );
  });

  test("aborted while it starts: told once, and no rejection that nobody waits for", async () => {
    const files = join(directory, "aborted");
    mkdirSync(files);
    const reason = new Error("enough");
    const chunks = {
      [Symbol.asyncIterator]: () => ({
        next: () => Promise.reject<IteratorResult<Buffer>>(reason),
      }),
    };
    const layer = { ...sourceOf(buildTar([{ name: "file" }])), chunks };
    const controller = new AbortController();
    const command = defaultUnpackerCommand();
    const { signal } = controller;
    const options = { command, directory: files, layer, disk: files, signal, stallMs: 60_000 };
    const call = unpackBlob(options);
    controller.abort(reason);
    // The runner fails a test that leaves a rejection.
    await assert.rejects(call, (error) => error === reason);
  });

  test("killed: said so, and nothing left", async () => {
    const call = fixture.snapshots.unpackLayer(
      endless(() => undefined),
      never,
    );
    await until("the large file is there", hasBegun);
    for (const pid of childPids()) process.kill(pid, "SIGKILL");
    await assert.rejects(call, /unpacker ended with signal 9 and no report/);
    assertNothingLeft();
  });

  test("standing still: killed after the patience", async () => {
    await using slow = await TestSnapshots.open(join(directory, "slow"), {
      unpacker: { file: "/bin/sh", args: ["-c", "exec sleep 1000"] },
      stallMs: 50,
    });
    const tar = buildTar([{ name: "file", data: Buffer.alloc(2_000_000) }]);
    await assert.rejects(slow.snapshots.unpackLayer(sourceOf(tar), never), (error) => {
      assert.match(String(error), /stood still for 50 ms: killed/);
      return isKind(error, "deadline-exceeded");
    });
    assert.deepEqual(readdirSync(join(directory, "slow/layers")), [".empty"]);
  });

  test("while it runs it is shut into the layer, with no file of ours", async () => {
    const controller = new AbortController();
    const call = fixture.snapshots.unpackLayer(
      endless(() => undefined),
      controller.signal,
    );
    await until("the large file is there", hasBegun);
    const [pid = 0] = childPids();
    assert.equal(readlinkSync(`/proc/${pid}/root`), halfMade()[0]);
    assert.equal(readlinkSync(`/proc/${pid}/cwd`), halfMade()[0]);
    const files = [...openFds(pid).values()].filter(
      (path) => !/^(pipe|socket|anon_inode):|^\/dev\/null$/.test(path),
    );
    assert.deepEqual(
      files,
      ["/large"].map((name) => `${halfMade()[0]}${name}`),
    );
    controller.abort();
    await assert.rejects(call);
  });

  test("one layer from several sources at once is there once", async () => {
    const tar = buildTar([{ name: "file" }]);
    const calls = [1, 2, 3].map(() => fixture.snapshots.unpackLayer(sourceOf(tar), never));
    await Promise.all(calls);
    assert.deepEqual(fixture.snapshots.layers(), [digestOf(tar)]);
    assert.deepEqual(halfMade(), []);
  });
});
