/** What layers have of those below them: hard links to lower files, and directories without an entry. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { type Digest, hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { unmount } from "../../linux/mount/index.ts";
import type { BuiltEntry } from "../../unpack/testing/tar-builder.ts";
import { dir, file, hard, never, OverlayFixture } from "./testing/fixture.ts";
import { TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();
const { directory } = fixture;
let count = 0;

const soft = (name: string, linkName: string): BuiltEntry => ({ name, type: "2", linkName });

/** The root that layers make up; completed, as a pull does it. */
async function rootOf(...layers: readonly Digest[]): Promise<string> {
  await fixture.layers.complete(layers, never);
  return (await fixture.roots.mount(`c${count++}`, layers)).path;
}

async function assertNoLink(message: RegExp, ...layers: readonly Digest[]): Promise<void> {
  const before = readdirSync(join(fixture.root, "layers"));
  await assert.rejects(fixture.layers.complete(layers, never), (error) => {
    assert.match(String(error), message);
    assert.match(String(error), /unpack layer "sha256:/);
    return isKind(error, "invalid-argument");
  });
  assert.notEqual(fixture.layers.lacking(layers), undefined);
  assert.deepEqual(readdirSync(join(fixture.root, "layers")), before, "nothing is left");
}

function copyUps(): readonly string[] {
  return readdirSync(join(fixture.root, "layers")).filter((name) => name.includes("copy-up"));
}

/** A base whose /usr/bin/x is a setuid file of another owner, and /bin a symbolic link. */
const base: readonly BuiltEntry[] = [
  dir("usr"),
  dir("usr/bin"),
  {
    ...file("usr/bin/x", "program"),
    mode: 0o4711,
    uid: 7,
    gid: 8,
    pax: { "SCHILY.xattr.user.a": "b" },
  },
  soft("bin", "usr/bin"),
];

describe("layers that have too much of those below them", () => {
  test("are refused before they take the inodes that must stay free, and leave nothing", async () => {
    const small = join(directory, "small");
    mkdirSync(small);
    const options = "mode=700,size=64m,nr_inodes=2000";
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "davit-small", small]);
    {
      await using disk = await TestOverlay.open(small);
      const deep = Array.from({ length: 90 }, () => "d").join("/");
      const links = Array.from({ length: 25 }, (_, at) => hard(`${at}/${deep}`, "usr/bin/x"));
      const layers = [await disk.layer(...base), await disk.layer(...links)];
      const { ffree } = statfsSync(small);
      await assert.rejects(disk.layers.complete(layers, never), (error) => {
        assert.match(String(error), /"sha256:.*has 10\d inodes free, of which 100 must stay free/);
        return isKind(error, "resource-exhausted");
      });
      assert.equal(statfsSync(small).ffree, ffree);
    }
    await unmount(small);
  });

  test("are refused where overlayfs would not mount them all", async () => {
    const layers = join(fixture.root, "layers");
    const diffIds = Array.from({ length: 251 }, (_, at): Digest => {
      return `sha256:${String(at).padStart(64, "0")}`;
    });
    for (const [at, diffId] of diffIds.entries()) {
      const directory = join(layers, hexOf(diffId));
      mkdirSync(join(directory, "fs"), { recursive: true });
      if (at === 0) writeFileSync(join(directory, "fs/x"), "program");
      const links = at === 0 ? [] : [{ path: `/${at}`, target: "/x" }];
      const facts = { version: 2, bytes: 0, inodes: 1, fromBelow: { links, directories: [] } };
      writeFileSync(join(directory, "layer.json"), JSON.stringify(facts));
    }
    await using many = await TestOverlay.open(fixture.root);
    await many.layers.complete(diffIds.slice(0, 250), never);
    const before = copyUps().length;
    await assert.rejects(many.layers.complete(diffIds, never), (error) => {
      assert.match(String(error), /they are 501 directories, and overlayfs mounts 500/);
      return isKind(error, "failed-precondition");
    });
    assert.equal(copyUps().length, before);
    await many.roots.mount("many", diffIds.slice(0, 250));
    await many.roots.remove("many");
  });
});

describe("a hard link to a file of a lower layer", () => {
  test("is that file, with all its attributes", async () => {
    const layers = [await fixture.layer(...base), await fixture.layer(hard("y", "usr/bin/x"))];
    const root = await rootOf(...layers);
    assert.equal(readFileSync(join(root, "y"), "utf8"), "program");
    const [y, x] = [lstatSync(join(root, "y")), lstatSync(join(root, "usr/bin/x"))];
    assert.deepEqual([y.mode & 0o7777, y.uid, y.gid, y.nlink], [0o4711, 7, 8, 2]);
    assert.deepEqual([y.ino, y.mtimeMs], [x.ino, x.mtimeMs]);
  });

  test("is found through symbolic links of its own layer and of lower ones", async () => {
    const bottom = await fixture.layer(...base);
    const middle = await fixture.layer(soft("opt", "/usr"), soft("etc", "../../.."));
    const top = await fixture.layer(
      soft("own", "bin"),
      hard("a", "bin/x"),
      hard("b", "own/x"),
      hard("c", "opt/bin/x"),
      hard("d", "etc/usr/bin/x"),
      hard("e", "bin"),
    );
    const root = await rootOf(bottom, middle, top);
    for (const name of ["a", "b", "c", "d"]) {
      assert.equal(readFileSync(join(root, name), "utf8"), "program", name);
    }
    assert.ok(lstatSync(join(root, "e")).isSymbolicLink());
  });

  test("may be replaced, linked to again and hidden from later layers", async () => {
    const bottom = await fixture.layer(...base);
    const middle = await fixture.layer(
      hard("a", "usr/bin/x"),
      hard("d/b", "a"),
      hard("c", "usr/bin/x"),
      file("c", "replaced"),
      hard("e", "usr/bin/x"),
      dir("e"),
      file("e/f"),
      hard("g", "c"),
      hard("d/h", "d/b"),
    );
    const top = await fixture.layer({ name: ".wh.a" }, hard("i", "d/b"));
    const root = await rootOf(bottom, middle, top);
    assert.equal(readFileSync(join(root, "d/b"), "utf8"), "program");
    assert.equal(statSync(join(root, "d/b")).ino, statSync(join(root, "d/h")).ino);
    assert.equal(statSync(join(root, "d/b")).ino, statSync(join(root, "i")).ino);
    assert.equal(readFileSync(join(root, "c"), "utf8"), "replaced");
    assert.equal(readFileSync(join(root, "g"), "utf8"), "replaced");
    assert.equal(readFileSync(join(root, "e/f"), "utf8"), "e/f");
    assert.ok(!existsSync(join(root, "a")));
    assert.deepEqual(readdirSync(root).sort(), ["bin", "c", "d", "e", "g", "i", "usr"]);
  });

  test("replaces a directory of its own layer, and keeps the directory's attributes", async () => {
    const bottom = await fixture.layer(...base);
    const top = await fixture.layer(
      { ...dir("d", 0o1770), uid: 5, gid: 6, seconds: 42, pax: { "SCHILY.xattr.user.d": "x" } },
      file("d/own"),
      hard("d/link", "usr/bin/x"),
    );
    const root = await rootOf(bottom, top);
    const { mode, uid, gid, mtimeMs } = statSync(join(root, "d"));
    assert.deepEqual([mode & 0o7777, uid, gid, mtimeMs], [0o1770, 5, 6, 42_000]);
    assert.deepEqual(readdirSync(join(root, "d")).sort(), ["link", "own"]);
  });

  test("is another file on another base, and fails where the base has none", async () => {
    const secret = await fixture.layer(file("secret", "of alice"));
    const other = await fixture.layer(file("secret", "of carol"));
    const empty = await fixture.layer(file("nothing"));
    const linking = await fixture.layer(hard("mine", "secret"));
    const alice = await rootOf(secret, linking);
    assert.equal(readFileSync(join(alice, "mine"), "utf8"), "of alice");
    await assertNoLink(/link "\/mine" to "\/secret".*: no layer below has it/, empty, linking);
    await assertNoLink(/no layer below has it/, linking);
    await assertNoLink(/no layer below has it/, linking, secret);
    await assert.rejects(fixture.roots.mount("bob", [empty, linking]), (error) =>
      isKind(error, "not-found"),
    );
    const carol = await rootOf(secret, other, linking);
    assert.equal(readFileSync(join(carol, "mine"), "utf8"), "of carol");
    assert.equal(readFileSync(join(alice, "mine"), "utf8"), "of alice");
  });

  test("never leads out of the layers", async () => {
    const outside = join(directory, `outside-${count}`);
    mkdirSync(outside);
    writeFileSync(join(outside, "file"), "of the host");
    const up = "../".repeat(30);
    const bottom = await fixture.layer(
      ...base,
      soft("abs", outside),
      soft("rel", `${up}${outside}`),
      soft("loop", "loop"),
      { name: "null", type: "3", major: 1, minor: 3 },
    );
    for (const target of ["abs/file", "rel/file", outside.slice(1), "abs/../file"]) {
      const top = await fixture.layer(hard("evil", target));
      await assertNoLink(/no layer below has it/, bottom, top);
    }
    const looping = await fixture.layer(hard("evil", "loop/x"));
    await assertNoLink(/too many symbolic links/, bottom, looping);
    const directoryLink = await fixture.layer(hard("evil", "usr/bin"));
    await assertNoLink(/it is a directory, which has no hard links/, bottom, directoryLink);
    assert.equal(statSync(join(outside, "file")).nlink, 1);
  });

  test("links one file a thousand times at most, and is not looked up after the pull's end", async () => {
    const bottom = await fixture.layer(...base);
    const links = Array.from({ length: 1001 }, (_, at) => hard(`y${at}`, "usr/bin/x"));
    const crowd = await fixture.layer(...links);
    await assertNoLink(/more than 1000 links of the layer lead to it/, bottom, crowd);
    const ended = AbortSignal.abort(new Error("the pull has ended"));
    const top = await fixture.layer(hard("y", "usr/bin/x"));
    await assert.rejects(fixture.layers.complete([bottom, top], ended), /the pull has ended/);
  });

  test("is refused where a layer between, or its own, hides the file", async () => {
    const bottom = await fixture.layer(...base, dir("d"), file("d/x"));
    const link = await fixture.layer(hard("y", "usr/bin/x"));
    for (const hiding of [
      [{ name: "usr/bin/.wh.x" }],
      [{ name: "usr/.wh.bin" }],
      [{ name: "usr/.wh..wh..opq" }],
      [{ name: ".wh..wh..opq" }],
      [file("usr")],
    ]) {
      const between = await fixture.layer(...hiding);
      await assertNoLink(/no layer below has it/, bottom, between, link);
    }
    for (const own of [
      [{ name: ".wh..wh..opq" }, hard("y", "d/x")],
      [{ name: "d/.wh..wh..opq" }, hard("y", "d/x")],
      [{ name: ".wh.d" }, hard("y", "d/x")],
      [{ name: "d/.wh.x" }, hard("y", "d/x")],
      [file("d"), hard("y", "d/x")],
    ]) {
      await assert.rejects(
        fixture.layer(...own),
        /the target "\/d\/x" of a hard link does not exist/,
      );
    }
  });
});

describe("a directory that no entry describes", () => {
  const special: readonly BuiltEntry[] = [
    dir("tmp", 0o1777),
    { ...dir("root", 0o700), uid: 5, gid: 6 },
    { ...dir("marked"), pax: { "SCHILY.xattr.user.mark": "x" }, seconds: 77 },
    dir("plain"),
  ];

  test("is as the lower layer has it", async () => {
    const bottom = await fixture.layer(...special);
    const top = await fixture.layer(
      file("tmp/a"),
      file("root/b"),
      file("marked/c/d"),
      file("plain/e"),
      { name: "plain/f/.wh.g" },
    );
    const root = await rootOf(bottom, top);
    const modeOf = (name: string): number => statSync(join(root, name)).mode & 0o7777;
    assert.deepEqual([modeOf("tmp"), modeOf("root"), modeOf("plain")], [0o1777, 0o700, 0o755]);
    assert.deepEqual([statSync(join(root, "root")).uid, statSync(join(root, "root")).gid], [5, 6]);
    assert.equal(statSync(join(root, "marked")).mtimeMs, 77_000);
    assert.equal(modeOf("marked/c"), 0o755);
    for (const name of ["tmp/a", "root/b", "marked/c/d", "plain/e"]) {
      assert.equal(readFileSync(join(root, name), "utf8"), name);
    }
    assert.equal(copyUps().length, 1);
  });

  test("is plain where lower ones are, and where an entry defines it", async () => {
    const bottom = await fixture.layer(...special);
    const top = await fixture.layer(file("tmp/a"), dir("tmp", 0o755), file("plain/b"));
    const root = await rootOf(bottom, top);
    assert.equal(statSync(join(root, "tmp")).mode & 0o7777, 0o755);
    assert.equal(statSync(join(root, "plain")).mode & 0o7777, 0o755);
  });

  test("is new where the layer took the lower one away", async () => {
    const bottom = await fixture.layer(...special, file("tmp/lower"));
    for (const entries of [
      [{ name: ".wh.tmp" }, file("tmp/a")],
      [file("tmp/a"), { name: ".wh.tmp" }],
    ]) {
      const root = await rootOf(bottom, await fixture.layer(...entries));
      assert.equal(statSync(join(root, "tmp")).mode & 0o7777, 0o755);
      assert.deepEqual(readdirSync(join(root, "tmp")), ["a"]);
    }
  });

  test("keeps its attributes when only what is in it is hidden", async () => {
    const bottom = await fixture.layer(...special, file("tmp/lower"));
    const top = await fixture.layer({ name: "tmp/.wh..wh..opq" }, file("tmp/a"));
    const root = await rootOf(bottom, top);
    assert.equal(statSync(join(root, "tmp")).mode & 0o7777, 0o1777);
    assert.deepEqual(readdirSync(join(root, "tmp")), ["a"]);
  });

  test("a base layer alone needs nothing", async () => {
    const layers = [await fixture.layer(file("a/b"))];
    assert.equal(fixture.layers.lacking(layers), undefined);
    await rootOf(...layers);
    assert.deepEqual(copyUps(), []);
  });
});

describe("what layers have of others", () => {
  const layers = async (): Promise<readonly Digest[]> => [
    await fixture.layer(...base),
    await fixture.layer(hard("y", "usr/bin/x")),
  ];

  test("is made once, however many ask, and found by the next daemon", async () => {
    const chain = await layers();
    assert.equal(fixture.layers.lacking(chain), chain[1]);
    await Promise.all([1, 2, 3].map(() => fixture.layers.complete(chain, never)));
    assert.equal(copyUps().length, 1);
    await using next = await TestOverlay.open(fixture.root);
    assert.equal(next.layers.lacking(chain), undefined);
    assert.deepEqual(await next.layers.sweep(), []);
    assert.equal(copyUps().length, 1);
  });

  test("goes with each of its layers", async () => {
    for (const at of [0, 1]) {
      const chain = await layers();
      await fixture.layers.complete(chain, never);
      await fixture.layers.remove(chain[at] as Digest);
      assert.deepEqual(copyUps(), []);
      assert.notEqual(fixture.layers.lacking(chain), undefined);
    }
  });

  for (const facts of ["{}", "", "\0".repeat(100)]) {
    test(`is missing when its facts are ${JSON.stringify(facts.slice(0, 2))}, and made again`, async () => {
      const chain = await layers();
      await fixture.layers.complete(chain, never);
      const [name = ""] = copyUps();
      writeFileSync(join(fixture.root, "layers", name, "copy-up.json"), facts);
      await using next = await TestOverlay.open(fixture.root);
      assert.equal(next.layers.lacking(chain), chain[1]);
      await next.layers.complete(chain, never);
      assert.deepEqual(copyUps(), [name]);
      assert.equal(next.layers.lacking(chain), undefined);
    });
  }

  test("is missing when it cannot be read, or when its layers are; then it is swept", async () => {
    const chain = await layers();
    await fixture.layers.complete(chain, never);
    const [name = ""] = copyUps();
    writeFileSync(join(fixture.root, "layers", name, "copy-up.json"), "{}");
    mkdirSync(join(fixture.root, "layers/.half-copy-up-1"));
    await using next = await TestOverlay.open(fixture.root);
    assert.equal(next.layers.lacking(chain), chain[1]);
    await next.layers.complete(chain, never);
    assert.equal((await next.layers.sweep()).length, 1);
    assert.deepEqual(copyUps(), [name]);
    assert.equal(next.layers.lacking(chain), undefined);
  });

  test("layers that are there many times need it once", async () => {
    const [bottom, top] = (await layers()) as [Digest, Digest];
    const many = Array.from({ length: 2000 }, (_, at) => (at % 2 === 0 ? bottom : top));
    const root = await rootOf(...many);
    assert.equal(readFileSync(join(root, "y"), "utf8"), "program");
    assert.equal(copyUps().length, 1);
  });
});
