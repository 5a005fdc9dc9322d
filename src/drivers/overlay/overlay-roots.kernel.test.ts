import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import { type Digest, hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { listMounts, makePrivateBind, mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../../linux/namespace/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { dir, file, OverlayFixture } from "./testing/fixture.ts";
import { digestOf, TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();
const { directory } = fixture;
const read = (root: string, name: string): string => readFileSync(join(root, name), "utf8");

describe("mount()", () => {
  test("whiteouts and opaque directories hide lower layers only", async () => {
    const lower = await fixture.layer(
      file("gone"),
      dir("emptied"),
      file("emptied/old"),
      dir("replaced"),
      file("replaced/old"),
      dir("kept"),
      file("kept/old"),
      dir("whole"),
      file("whole/old"),
      file("changed", "old"),
      dir("marked-after"),
      file("marked-after/old"),
      file("deep-gone"),
      dir("unlisted"),
      file("unlisted/old"),
    );
    const upper = await fixture.layer(
      file(".wh.gone", ""),
      dir("emptied"),
      file("emptied/.wh..wh..opq", ""),
      file("emptied/new"),
      // Removed and created again, in both orders.
      file(".wh.replaced", ""),
      dir("replaced"),
      file("replaced/new"),
      dir("marked-after"),
      file("marked-after/new"),
      file(".wh.marked-after", ""),
      dir("kept"),
      file("kept/new"),
      file(".wh.whole", ""),
      file(".wh.changed", ""),
      file("changed", "new"),
      // Without an entry for the directory.
      file(".wh.unlisted", ""),
      file("unlisted/new"),
      file(".wh..wh.aufs", "aufs"),
      dir(".wh..wh.plnk"),
      file("never/.wh.there", ""),
    );
    await fixture.layers.complete([lower, upper], new AbortController().signal);
    const { path } = await fixture.roots.mount("c1", [lower, upper]);
    assert.equal(path, join(fixture.root, "roots/c1/merged"));
    assert.deepEqual(readdirSync(path).sort(), [
      "changed",
      "deep-gone",
      "emptied",
      "kept",
      "marked-after",
      "never",
      "replaced",
      "unlisted",
    ]);
    for (const name of ["emptied", "replaced", "marked-after", "unlisted"]) {
      assert.deepEqual(readdirSync(join(path, name)), ["new"], name);
    }
    assert.deepEqual(readdirSync(join(path, "kept")).sort(), ["new", "old"]);
    // overlayfs lists a directory of a single layer unchanged, whiteouts included.
    assert.equal(existsSync(join(path, "never/there")), false);
    assert.equal(read(path, "changed"), "new");
    // The layer itself has overlayfs' whiteout.
    const mark = lstatSync(join(fixture.root, "layers", hexOf(upper), "fs/gone"));
    assert.ok(mark.isCharacterDevice() && mark.rdev === 0);
  });

  test("an opaque root hides all lower layers, also after a restart", async () => {
    const layers = [
      await fixture.layer(file("lowest")),
      await fixture.layer(file(".wh..wh..opq", ""), file("middle")),
      await fixture.layer(file("top")),
    ];
    await using again = await TestOverlay.open(fixture.root);
    for (const [id, { roots }] of [
      ["c1", fixture],
      ["c2", again],
    ] as const) {
      const { path } = await roots.mount(id, layers);
      assert.deepEqual(readdirSync(path).sort(), ["middle", "top"]);
      await roots.remove(id);
    }
  });

  test("writes change no layer and no other container", async () => {
    const layer = await fixture.layer(file("file", "image"));
    const one = await fixture.roots.mount("one", [layer]);
    const two = await fixture.roots.mount("two", [layer]);
    writeFileSync(join(one.path, "file"), "changed");
    assert.equal(read(two.path, "file"), "image");
    assert.equal(read(join(fixture.root, "layers", hexOf(layer), "fs"), "file"), "image");
  });

  test("no layer, one layer, the same layer several times", async () => {
    const [a, b] = [
      await fixture.layer(file("x", "a")),
      await fixture.layer(file("x", "b"), file("y")),
    ];
    const roots: readonly (readonly [string, readonly Digest[], readonly string[]])[] = [
      ["none", [], []],
      ["one", [b], ["x", "y"]],
      ["twice", [a, b, a, b, a], ["x", "y"]],
    ];
    for (const [id, layers, names] of roots) {
      const { path } = await fixture.roots.mount(id, layers);
      assert.deepEqual(readdirSync(path).sort(), names);
      writeFileSync(join(path, "new"), "");
    }
    assert.equal(read(join(fixture.root, "roots/twice/merged"), "x"), "a");
    assert.equal(statSync(join(fixture.root, "roots/none/merged")).mode & 0o7777, 0o755);
  });

  test("the root's mode and owner are those of the topmost layer", async () => {
    const lower = await fixture.layer({ ...dir("./", 0o700), uid: 9 });
    const upper = await fixture.layer({ ...dir("./", 0o1711), uid: 5, gid: 6 });
    const bare = await fixture.layer(file("x"));
    const attributes = async (
      id: string,
      layers: readonly Digest[],
    ): Promise<readonly number[]> => {
      const { path } = await fixture.roots.mount(id, layers);
      const { mode, uid, gid } = statSync(path);
      return [mode & 0o7777, uid, gid];
    };
    assert.deepEqual(await attributes("a", [lower, upper]), [0o1711, 5, 6]);
    assert.deepEqual(await attributes("b", [lower, bare]), [0o755, 0, 0]);
  });

  for (const asOldKernel of [false, true]) {
    test(`127 layers ${asOldKernel ? "as before 6.7" : "one by one"}, volatile and private`, async () => {
      const layers: Digest[] = [];
      // The layers come from no image, because only the number of names matters.
      const template = await fixture.layer(file("template"));
      for (let at = 0; at < 127; at++) {
        const diffId = digestOf(Buffer.from(String(at)));
        const path = join(fixture.root, "layers", hexOf(diffId));
        mkdirSync(join(path, "fs"), { recursive: true });
        writeFileSync(join(path, "fs", `file-${at}`), "");
        writeFileSync(join(path, "fs", "which"), String(at));
        writeFileSync(join(path, "layer.json"), '{"version":1,"bytes":1,"inodes":1}');
        layers.push(diffId);
      }
      await using many = await TestOverlay.open(fixture.root, { asOldKernel });
      assert.ok(many.layers.has(template));
      const { path } = await many.roots.mount("many", layers);
      assert.equal(readdirSync(path).length, 128);
      assert.equal(read(path, "which"), "126");
      const mount = (await listMounts()).find(({ mountPoint }) => mountPoint === path);
      assert.equal(mount?.fsType, "overlay");
      // "volatile", or "fsync=volatile" on newer kernels.
      assert.match(mount.superOptions.join(), /[,=]volatile/);
      assert.deepEqual(mount.propagation, []);
      assert.deepEqual(readdirSync(join(fixture.root, "roots/many")).sort(), [
        "merged",
        "upper",
        "work",
      ]);
    });
  }

  for (const asOldKernel of [false, true]) {
    test(`in a user namespace, ${asOldKernel ? "as before 6.7" : "one by one"}`, async () => {
      const [namespace, id] = [
        join(directory, "user"),
        { containerId: 0, hostId: 70_000, length: 9 },
      ];
      await makePrivateBind(directory);
      await pinNamespaces({ user: namespace, users: { uids: id, gids: id } });
      const layers = [
        await fixture.layer({ name: "low", data: "low", uid: 1, gid: 2 }, { name: "far", uid: 9 }),
        await fixture.layer({ name: "./", type: "5", mode: 0o750, uid: 3, gid: 4 }),
      ];
      const users = { namespace, uid: id.hostId, gid: id.hostId };
      await using mapped = await TestOverlay.open(fixture.root, { asOldKernel });
      const { path } = await mapped.roots.mount("c", layers, undefined, { users });
      const owner = (file: string): readonly number[] => {
        const { uid, gid } = statSync(file);
        return [uid, gid];
      };
      assert.deepEqual(owner(join(path, "low")), [70_001, 70_002]);
      assert.deepEqual(owner(join(path, "far")), [65_534, 70_000], "an id that is not mapped");
      assert.deepEqual(owner(path), [70_003, 70_004]);
      assert.equal(statSync(path).mode & 0o777, 0o750);
      appendFileSync(join(path, "low"), "er");
      assert.deepEqual(owner(join(fixture.root, "roots/c/upper/low")), [70_001, 70_002]);
      const hex = hexOf(layers[0] ?? assert.fail());
      assert.deepEqual(owner(join(fixture.root, "layers", hex, "fs/low")), [1, 2]);
      assert.equal(read(join(fixture.root, "layers", hex, "fs"), "low"), "low");
      assert.deepEqual(owner(join(fixture.root, "roots/c")), [70_000, 70_000]);
      const entries = ["merged", "upper", "work"];
      assert.deepEqual(readdirSync(join(fixture.root, "roots/c")).sort(), entries);
      const below = (await listMounts()).filter((m) => m.mountPoint.includes("/roots/c/"));
      assert.deepEqual(
        below.map(({ mountPoint }) => mountPoint),
        [path],
      );

      // What a crash leaves is removed with the root.
      const left = join(fixture.root, "roots/c/mapped");
      mkdirSync(left);
      await mountTmpfs(left, { sizeBytes: 65_536, mode: 0o700 });
      await mapped.roots.remove("c");
      await fixture.untilHolds("roots", []);

      const gone = { ...users, namespace: join(directory, "gone") };
      await assert.rejects(
        mapped.roots.mount("c", layers, undefined, { users: gone }),
        /open namespace/,
      );
      assert.deepEqual(readdirSync(join(fixture.root, "roots")), []);
      await unpinNamespace(namespace);
      await unmount(directory);
    });
  }

  test("refuses a missing layer, an existing root and an invalid id", async () => {
    const layer = await fixture.layer(file("x"));
    const missing = digestOf(Buffer.from("missing"));
    await assert.rejects(fixture.roots.mount("c", [layer, missing]), (error) => {
      assert.match(String(error), /layer "sha256:.*" is missing, pull the image again/);
      return isKind(error, "not-found");
    });
    assert.deepEqual(readdirSync(join(fixture.root, "roots")), []);
    await fixture.roots.mount("c", [layer]);
    await assert.rejects(fixture.roots.mount("c", [layer]), (error) =>
      isKind(error, "already-exists"),
    );
    assert.equal(read(join(fixture.root, "roots/c/merged"), "x"), "x");
    for (const id of ["", "..", "a/b", ".gone-x"]) {
      await assert.rejects(fixture.roots.mount(id, []), (error) =>
        isKind(error, "invalid-argument"),
      );
      await assert.rejects(fixture.roots.remove(id), (error) => isKind(error, "invalid-argument"));
    }
  });

  test("an overlayfs error is reported and leaves nothing behind", async () => {
    const layer = await fixture.layer(file("x"));
    rmSync(join(fixture.root, "layers", hexOf(layer)), { recursive: true });
    await assert.rejects(fixture.roots.mount("c", [layer]), /mount root of container "c"/);
    assert.deepEqual(readdirSync(join(fixture.root, "roots")), []);
  });
});

describe("remove()", () => {
  test("unmounts and deletes everything, and is idempotent", async () => {
    const { path } = await fixture.roots.mount("c", [await fixture.layer(file("x"))]);
    mkdirSync(join(path, "deep/er"), { recursive: true });
    writeFileSync(join(path, "deep/er/file"), "x");
    await fixture.roots.remove("c");
    assert.equal(existsSync(path), false);
    await fixture.roots.remove("c");
    await fixture.roots.remove("never-was");
    await fixture.untilHolds("roots", []);
  });

  test("works while a file of the root is open", async () => {
    const { path } = await fixture.roots.mount("c", [await fixture.layer(file("x"))]);
    const reader = execFileSync.bind(undefined, "sh");
    const output = reader(["-c", `exec 3<"$1/x"; echo open; cat <&3`, "sh", path], {
      encoding: "utf8",
    });
    assert.equal(output, "open\nx");
    await fixture.roots.remove("c");
    await fixture.untilHolds("roots", []);
  });

  test("explains a file system that overlayfs refuses, and leaves nothing behind", async () => {
    const directories = ["lower", "upper", "work", "merged"].map((name) =>
      join(directory, "unfit", name),
    );
    for (const path of directories) mkdirSync(path, { recursive: true });
    const [lower, upper, work, merged = ""] = directories;
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    execFileSync("mount", ["-t", "overlay", "-o", options, "overlay", merged]);
    {
      await using unfit = await TestOverlay.open(merged);
      const layer = await unfit.layer(file("x"));
      await assert.rejects(unfit.roots.mount("c", [layer]), (error) => {
        assert.match(
          String(error),
          /mount root of container "c": create overlay "overlay: filesystem on .* not supported.*": .*: set root to a directory on ext4/,
        );
        return isKind(error, "failed-precondition");
      });
      assert.deepEqual(readdirSync(join(merged, "roots")), []);
    }
    execFileSync("umount", [merged]);
  });

  test("needs no free space, and never deletes through a mount", async () => {
    const small = join(directory, "small");
    const volume = join(directory, "volume");
    mkdirSync(small);
    mkdirSync(volume);
    writeFileSync(join(volume, "precious"), "");
    await mountTmpfs(small, { sizeBytes: 2 * 2 ** 20, mode: 0o700 });
    {
      await using full = await TestOverlay.open(small);
      const layer = await full.layer(file("x"));
      const { path } = await full.roots.mount("c", [layer]);
      assert.throws(() => writeFileSync(join(path, "fill"), Buffer.alloc(4 * 2 ** 20)), /ENOSPC/);
      await full.roots.remove("c");
      await full.layers.remove(layer);
      const left = (): number => readdirSync(join(small, "roots")).length;
      await until("the root is deleted", () => left() === 0);
      await until(
        "the layer is deleted",
        () => readdirSync(join(small, "layers")).join() === ".empty",
      );

      // A foreign mount inside the directory that is deleted.
      await full.roots.mount("d", []);
      const inner = join(small, "roots/d/upper/volume");
      mkdirSync(inner);
      execFileSync("mount", ["--bind", volume, inner]);
      await full.roots.remove("d");
      await until("everything else is deleted", () => {
        const [name = ""] = readdirSync(join(small, "roots"));
        return readdirSync(join(small, "roots", name)).join() === "upper";
      });
      assert.deepEqual(readdirSync(volume), ["precious"]);
      const [name = ""] = readdirSync(join(small, "roots"));
      await unmount(join(small, "roots", name, "upper/volume"));
    }
    await unmount(small);
  });
});
