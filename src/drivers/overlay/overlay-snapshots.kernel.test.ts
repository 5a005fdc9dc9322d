import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { type Digest, hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { listMounts, makePrivateBind, mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../../linux/namespace/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { digestOf, sourceOf, TestSnapshots } from "./testing/layers.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-roots-"));
let fixture: TestSnapshots;
let count = 0;
const never = new AbortController().signal;

beforeEach(async () => {
  fixture = await TestSnapshots.open(join(directory, `root-${count++}`));
});
afterEach(async () => {
  for (const name of readdirSync(join(fixture.root, "roots"))) {
    if (!name.startsWith(".")) await fixture.snapshots.remove(name);
  }
  await fixture[Symbol.asyncDispose]();
  assert.deepEqual(
    (await listMounts()).filter(({ mountPoint }) => mountPoint.startsWith(directory)),
    [],
  );
});
after(() => rmSync(directory, { recursive: true }));

const file = (name: string, data = name): BuiltEntry => ({ name, data });
const dir = (name: string, mode = 0o755): BuiltEntry => ({ name, type: "5", mode });
const read = (root: string, name: string): string => readFileSync(join(root, name), "utf8");

/** Deletions run in the background: waits until the directory holds just these. */
async function untilHolds(name: "layers" | "roots", entries: readonly string[]): Promise<void> {
  const path = join(fixture.root, name);
  await until(
    `${path} holds ${entries.join()}`,
    () => readdirSync(path).sort().join() === entries.join(),
  );
}

describe("mount()", () => {
  test("whiteouts and opaque directories hide what is below, and nothing of their own layer", async () => {
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
      // Removed and made again, in both orders.
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
    await fixture.snapshots.completeLayers([lower, upper], new AbortController().signal);
    const { path } = await fixture.snapshots.mount("c1", [lower, upper]);
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
    // A directory that one layer alone has is listed by overlayfs as it is, marks included.
    assert.equal(existsSync(join(path, "never/there")), false);
    assert.equal(read(path, "changed"), "new");
    // The layer itself holds overlayfs' mark.
    const mark = lstatSync(join(fixture.root, "layers", hexOf(upper), "fs/gone"));
    assert.ok(mark.isCharacterDevice() && mark.rdev === 0);
  });

  test("an opaque mark of the root hides all layers below, also after a restart", async () => {
    const layers = [
      await fixture.layer(file("lowest")),
      await fixture.layer(file(".wh..wh..opq", ""), file("middle")),
      await fixture.layer(file("top")),
    ];
    await using again = await TestSnapshots.open(fixture.root);
    for (const [id, snapshots] of [
      ["c1", fixture.snapshots],
      ["c2", again.snapshots],
    ] as const) {
      const { path } = await snapshots.mount(id, layers);
      assert.deepEqual(readdirSync(path).sort(), ["middle", "top"]);
      await snapshots.remove(id);
    }
  });

  test("is writable, and writes reach no layer and no other container", async () => {
    const layer = await fixture.layer(file("file", "image"));
    const one = await fixture.snapshots.mount("one", [layer]);
    const two = await fixture.snapshots.mount("two", [layer]);
    writeFileSync(join(one.path, "file"), "changed");
    assert.equal(read(two.path, "file"), "image");
    assert.equal(read(join(fixture.root, "layers", hexOf(layer), "fs"), "file"), "image");
  });

  test("no layer, one layer, the same layer again and again", async () => {
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
      const { path } = await fixture.snapshots.mount(id, layers);
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
      const { path } = await fixture.snapshots.mount(id, layers);
      const { mode, uid, gid } = statSync(path);
      return [mode & 0o7777, uid, gid];
    };
    assert.deepEqual(await attributes("a", [lower, upper]), [0o1711, 5, 6]);
    assert.deepEqual(await attributes("b", [lower, bare]), [0o755, 0, 0]);
  });

  for (const asOldKernel of [false, true]) {
    test(`127 layers ${asOldKernel ? "as before 6.7" : "one by one"}, volatile and private`, async () => {
      const layers: Digest[] = [];
      // Unpacked once is enough: what counts is how many names the kernel takes.
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
      await using many = await TestSnapshots.open(fixture.root, { asOldKernel });
      assert.ok(many.snapshots.hasLayer(template));
      const { path } = await many.snapshots.mount("many", layers);
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
      await using mapped = await TestSnapshots.open(fixture.root, { asOldKernel });
      const { path } = await mapped.snapshots.mount("c", layers, undefined, { users });
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

      // What a crash in the middle leaves goes with the root.
      const left = join(fixture.root, "roots/c/mapped");
      mkdirSync(left);
      await mountTmpfs(left, { sizeBytes: 65_536, mode: 0o700 });
      await mapped.snapshots.remove("c");
      await untilHolds("roots", []);

      const gone = { ...users, namespace: join(directory, "gone") };
      await assert.rejects(
        mapped.snapshots.mount("c", layers, undefined, { users: gone }),
        /open namespace/,
      );
      assert.deepEqual(readdirSync(join(fixture.root, "roots")), []);
      await unpinNamespace(namespace);
      await unmount(directory);
    });
  }

  test("a layer that is not here, a root that is, an id that is no name", async () => {
    const layer = await fixture.layer(file("x"));
    const missing = digestOf(Buffer.from("missing"));
    await assert.rejects(fixture.snapshots.mount("c", [layer, missing]), (error) => {
      assert.match(String(error), /layer "sha256:.*" is not here, pull the image again/);
      return isKind(error, "not-found");
    });
    assert.deepEqual(readdirSync(join(fixture.root, "roots")), []);
    await fixture.snapshots.mount("c", [layer]);
    await assert.rejects(fixture.snapshots.mount("c", [layer]), (error) =>
      isKind(error, "already-exists"),
    );
    assert.equal(read(join(fixture.root, "roots/c/merged"), "x"), "x");
    for (const id of ["", "..", "a/b", ".gone-x"]) {
      await assert.rejects(fixture.snapshots.mount(id, []), (error) =>
        isKind(error, "invalid-argument"),
      );
      await assert.rejects(fixture.snapshots.remove(id), (error) =>
        isKind(error, "invalid-argument"),
      );
    }
  });

  test("what overlayfs does not take is told in its words, and leaves nothing", async () => {
    const layer = await fixture.layer(file("x"));
    rmSync(join(fixture.root, "layers", hexOf(layer)), { recursive: true });
    await assert.rejects(fixture.snapshots.mount("c", [layer]), /mount root of container "c"/);
    assert.deepEqual(readdirSync(join(fixture.root, "roots")), []);
  });
});

describe("remove()", () => {
  test("unmounts and deletes everything, once and again", async () => {
    const { path } = await fixture.snapshots.mount("c", [await fixture.layer(file("x"))]);
    mkdirSync(join(path, "deep/er"), { recursive: true });
    writeFileSync(join(path, "deep/er/file"), "x");
    await fixture.snapshots.remove("c");
    assert.equal(existsSync(path), false);
    await fixture.snapshots.remove("c");
    await fixture.snapshots.remove("never-was");
    await untilHolds("roots", []);
  });

  test("goes on while a file of the root is open", async () => {
    const { path } = await fixture.snapshots.mount("c", [await fixture.layer(file("x"))]);
    const reader = execFileSync.bind(undefined, "sh");
    const output = reader(["-c", `exec 3<"$1/x"; echo open; cat <&3`, "sh", path], {
      encoding: "utf8",
    });
    assert.equal(output, "open\nx");
    await fixture.snapshots.remove("c");
    await untilHolds("roots", []);
  });

  test("on a file system that overlayfs refuses says what to do, and leaves nothing", async () => {
    const directories = ["lower", "upper", "work", "merged"].map((name) =>
      join(directory, "unfit", name),
    );
    for (const path of directories) mkdirSync(path, { recursive: true });
    const [lower, upper, work, merged = ""] = directories;
    const options = `lowerdir=${lower},upperdir=${upper},workdir=${work}`;
    execFileSync("mount", ["-t", "overlay", "-o", options, "overlay", merged]);
    {
      await using unfit = await TestSnapshots.open(merged);
      const layer = await unfit.layer(file("x"));
      await assert.rejects(unfit.snapshots.mount("c", [layer]), (error) => {
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
      await using full = await TestSnapshots.open(small);
      const layer = await full.layer(file("x"));
      const { path } = await full.snapshots.mount("c", [layer]);
      assert.throws(() => writeFileSync(join(path, "fill"), Buffer.alloc(4 * 2 ** 20)), /ENOSPC/);
      await full.snapshots.remove("c");
      await full.snapshots.removeLayer(layer);
      const left = (): number => readdirSync(join(small, "roots")).length;
      await until("the root is deleted", () => left() === 0);
      await until("the layer is", () => readdirSync(join(small, "layers")).join() === ".empty");

      // Somebody's mount inside of what is deleted.
      await full.snapshots.mount("d", []);
      const inner = join(small, "roots/d/upper/volume");
      mkdirSync(inner);
      execFileSync("mount", ["--bind", volume, inner]);
      await full.snapshots.remove("d");
      await until("all else is deleted", () => {
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

describe("layers", () => {
  test("are found again by the next daemon; a broken one is left out and can be unpacked again", async () => {
    const [a, b] = [await fixture.layer(file("a")), await fixture.layer(file("b"), file("c"))];
    const usage = fixture.snapshots.layersUsage();
    writeFileSync(join(fixture.root, "layers", hexOf(b), "layer.json"), "{");
    await using again = await TestSnapshots.open(fixture.root);
    assert.deepEqual(again.snapshots.layers(), [a]);
    assert.equal(await again.layer(file("b"), file("c")), b);
    assert.deepEqual(new Set(again.snapshots.layers()), new Set([a, b]));
    assert.deepEqual(again.snapshots.layersUsage(), usage);
    await untilHolds("layers", [".empty", ...[a, b].map(hexOf).sort()]);
  });

  test("a removed one is gone at once, and its space from the sum", async () => {
    const layer = await fixture.layer(file("x", "x".repeat(10_000)));
    assert.ok(fixture.snapshots.layersUsage().bytes >= 12_288n);
    await fixture.snapshots.removeLayer(layer);
    assert.equal(fixture.snapshots.hasLayer(layer), false);
    assert.deepEqual(fixture.snapshots.layersUsage(), { bytes: 0n, inodes: 0n });
    await fixture.snapshots.removeLayer(layer);
    await untilHolds("layers", [".empty"]);
  });

  test("know the blobs and the registries that they have come from, also of the last daemon", async () => {
    const tar = buildTar([file("a")]);
    const packed = gzipSync(tar);
    const source = sourceOf(tar);
    const layer = source.diffId;
    const origin = {
      registry: source.registry,
      digest: digestOf(tar),
      sizeBytes: BigInt(tar.length),
    };
    const other = {
      registry: "other.test",
      digest: digestOf(packed),
      sizeBytes: BigInt(packed.length),
    };
    await fixture.snapshots.unpackLayer(source, never);
    const { ino } = statSync(join(fixture.root, "layers", hexOf(layer)));
    const changes = [{ registry: "other.test" }, { digest: other.digest }, { sizeBytes: 1n }];
    for (const change of changes) {
      assert.ok(!fixture.snapshots.hasLayerFrom(layer, { ...origin, ...change }));
    }
    // Known of it already, so that what others say does not count.
    fixture.snapshots.attributeLayer(layer, other);
    assert.ok(!fixture.snapshots.hasLayerFrom(layer, other));
    await fixture.snapshots.unpackLayer(
      { ...sourceOf(tar, packed), registry: "other.test" },
      never,
    );
    await using again = await TestSnapshots.open(fixture.root);
    for (const { snapshots } of [fixture, again]) {
      assert.ok(snapshots.hasLayerFrom(layer, origin));
      assert.ok(snapshots.hasLayerFrom(layer, other));
    }
    assert.equal(statSync(join(fixture.root, "layers", hexOf(layer))).ino, ino);
    await untilHolds("layers", [".empty", hexOf(layer)]);
    await fixture.snapshots.removeLayer(layer);
    assert.ok(!fixture.snapshots.hasLayerFrom(layer, origin));
  });

  test("take no origin from bytes that turn out to be others", async () => {
    const layer = await fixture.layer(file("a"));
    const wrong = buildTar([file("b")]);
    const blob = { mediaType: "any", digest: digestOf(wrong), sizeBytes: BigInt(wrong.length) };
    const source = { ...sourceOf(wrong), diffId: layer };
    await assert.rejects(fixture.snapshots.unpackLayer(source, never), /sha256:/);
    const origin = { registry: source.registry, ...blob };
    assert.ok(!fixture.snapshots.hasLayerFrom(layer, origin));
    assert.ok(fixture.snapshots.hasLayer(layer));
    await untilHolds("layers", [".empty", hexOf(layer)]);
  });

  test("of version 1 come from where they are said to, until they are fetched", async () => {
    const tar = buildTar([file("a")]);
    const layer = await fixture.layer(file("a"));
    const path = join(fixture.root, "layers", hexOf(layer), "layer.json");
    writeFileSync(path, '{"version":1,"bytes":1,"inodes":1,"rootOpaque":true}');
    const origin = { registry: "old.test", digest: digestOf(tar), sizeBytes: BigInt(tar.length) };
    await using old = await TestSnapshots.open(fixture.root);
    assert.ok(!old.snapshots.hasLayerFrom(layer, origin));
    old.snapshots.attributeLayer(layer, origin);
    assert.ok(old.snapshots.hasLayerFrom(layer, origin));
    await old.snapshots.unpackLayer(sourceOf(tar), never);
    await using again = await TestSnapshots.open(fixture.root);
    assert.ok(again.snapshots.hasLayerFrom(layer, origin));
    assert.ok(again.snapshots.hasLayerFrom(layer, { ...origin, registry: "registry.test" }));
    assert.deepEqual(JSON.parse(readFileSync(path, "utf8")), {
      version: 2,
      bytes: 1,
      inodes: 1,
      rootOpaque: true,
      origins: ["old.test", "registry.test"].map((registry) => ({
        ...origin,
        registry,
        sizeBytes: String(tar.length),
      })),
    });
  });

  test("are closed to others on the host", () => {
    assert.equal(statSync(join(fixture.root, "layers")).mode & 0o7777, 0o700);
  });
});

describe("sweep()", () => {
  test("removes what nobody knows, and what was half-made, and says so", async () => {
    const layer = await fixture.layer(file("x"));
    for (const id of ["known", "unknown"]) await fixture.snapshots.mount(id, [layer]);
    mkdirSync(join(fixture.root, "layers/.new-1/fs"), { recursive: true });
    mkdirSync(join(fixture.root, "layers/.gone-1"));
    mkdirSync(join(fixture.root, "roots/.gone-2/upper"), { recursive: true });
    await using next = await TestSnapshots.open(fixture.root);
    const lines = await next.snapshots.sweep(new Set(["known"]));
    assert.deepEqual([...lines].sort(), [
      `removed half-unpacked layer "${fixture.root}/layers/.new-1"`,
      'removed root of unknown container "unknown"',
    ]);
    await untilHolds("roots", ["known"]);
    await untilHolds("layers", [".empty", hexOf(layer)]);
    assert.equal(read(join(fixture.root, "roots/known/merged"), "x"), "x");
    assert.deepEqual(await next.snapshots.sweep(new Set(["known"])), []);
  });
});

describe("usage()", () => {
  test("counts the writable layer alone, hard links once, and holds for a while", async () => {
    const layer = await fixture.layer(file("image", "x".repeat(100_000)));
    const { path } = await fixture.snapshots.mount("c", [layer]);
    const before = await fixture.snapshots.usage("c");
    assert.deepEqual([before.inodes, before.bytes <= 4096n], [1n, true]);
    writeFileSync(join(path, "big"), Buffer.alloc(1_000_000, 1));
    execFileSync("ln", [join(path, "big"), join(path, "hard")]);
    assert.deepEqual(await fixture.snapshots.usage("c"), before);

    await using other = await TestSnapshots.open(fixture.root);
    const now = await other.snapshots.usage("c");
    const upper = join(fixture.root, "roots/c/upper");
    const du = execFileSync("du", ["-s", "--block-size=1", upper], { encoding: "utf8" });
    assert.deepEqual(now, { bytes: BigInt(Number.parseInt(du, 10)), inodes: 2n });
  });

  test("of a container without a root is not found", async () => {
    await assert.rejects(fixture.snapshots.usage("nobody"), (error) => isKind(error, "not-found"));
  });
});

describe("close()", () => {
  test("takes the private mount away when there is no root", async () => {
    const mounts = async (): Promise<number> =>
      (await listMounts()).filter(({ mountPoint }) => mountPoint === join(fixture.root, "roots"))
        .length;
    await fixture.snapshots.mount("c", []);
    await fixture.snapshots.close();
    assert.equal(await mounts(), 1);
    await fixture.snapshots.remove("c");
    await untilHolds("roots", []);
    await fixture.snapshots.close();
    assert.equal(await mounts(), 0);
  });
});

describe("a label", () => {
  const label = "system_u:object_r:container_file_t:s0:c1,c2";
  const isRefused = (error: unknown): boolean => /EINVAL/.test(String(error));
  const skip = existsSync("/sys/fs/selinux/enforce") && "this kernel takes labels";

  for (const asOldKernel of [false, true]) {
    const before = asOldKernel ? ", before Linux 6.7" : "";
    test(`goes to the kernel, which refuses it without SELinux${before}`, { skip }, async () => {
      await using own = await TestSnapshots.open(join(directory, `label-${asOldKernel}`), {
        asOldKernel,
      });
      const { snapshots } = own;
      const layer = await own.layer(file("x"));
      await assert.rejects(snapshots.mount("c", [layer], undefined, { label }), isRefused);
      await snapshots.mount("c", [layer]);
      const image = digestOf(Buffer.from("labelled"));
      const volumes = [{ name: "i", image, layers: [layer], subPath: "" }];
      await assert.rejects(snapshots.mountImages("c", volumes, { label }), isRefused);
      await snapshots.remove("c");
    });
  }
});

describe("mountImages()", () => {
  const image = digestOf(Buffer.from("an image"));

  for (const asOldKernel of [false, true]) {
    test(`shows images whole and in part, read-only${asOldKernel ? ", before Linux 6.7" : ""}`, async () => {
      await using own = await TestSnapshots.open(join(directory, `images-${asOldKernel}`), {
        asOldKernel,
      });
      const { snapshots } = own;
      const lower = await own.layer(dir("a"), file("a/old"), file("a/gone"));
      const upper = await own.layer(dir("a"), file("a/.wh.gone", ""), file("a/new"));
      await snapshots.mount("c1", [lower]);
      const volumes = [
        { name: "two", image, layers: [lower, upper], subPath: "" },
        { name: "two", image, layers: [lower, upper], subPath: "a" },
        { name: "one", image: digestOf(Buffer.from("other")), layers: [lower], subPath: "" },
      ];
      await snapshots.mountImages("c1", volumes);
      const at = (index: number, name: string): string =>
        join(snapshots.imageVolumeOf("c1", index), name);
      assert.deepEqual(readdirSync(at(0, "a")).toSorted(), ["new", "old"]);
      assert.deepEqual(readdirSync(at(1, "")).toSorted(), ["new", "old"]);
      assert.deepEqual(readdirSync(at(2, "a")).toSorted(), ["gone", "old"]);
      for (const index of [0, 1, 2]) {
        assert.throws(() => {
          writeFileSync(at(index, "made"), "");
        }, /EROFS/);
      }
      const images = join(own.root, "roots/c1/images");
      const whole = (await listMounts()).filter(({ mountPoint }) =>
        mountPoint.startsWith(`${images}/whole-`),
      );
      assert.equal(whole.length, 2, "one mount for each image");
      await snapshots.remove("c1");
      assert.deepEqual(
        (await listMounts()).filter(({ mountPoint }) => mountPoint.startsWith(images)),
        [],
      );
    });
  }

  test("says which sub path its image lacks; what is mounted goes with the root", async () => {
    const layer = await fixture.layer(dir("a"), file("a/f"), {
      name: "out",
      type: "2",
      linkName: directory,
    });
    for (const [id, subPath, why] of [
      ["c1", "b", /mount image "model:1": image_sub_path "b" does not exist/],
      ["c2", "a/f", /"a\/f" is not a directory/],
      ["c3", "out", /"out" does not exist/],
    ] as const) {
      await fixture.snapshots.mount(id, [layer]);
      const volumes = [{ name: "model:1", image, layers: [layer], subPath }];
      await assert.rejects(
        fixture.snapshots.mountImages(id, volumes),
        (error) => isKind(error, "invalid-argument") && why.test(String(error)),
      );
      await fixture.snapshots.remove(id);
    }
  });

  test("is swept away with the root of a container that nobody knows", async () => {
    const layer = await fixture.layer(dir("a"));
    await fixture.snapshots.mount("c1", [layer]);
    await fixture.snapshots.mountImages("c1", [
      { name: "i", image, layers: [layer], subPath: "a" },
    ]);
    const lines = await fixture.snapshots.sweep({ has: () => false });
    assert.deepEqual(lines, ['removed root of unknown container "c1"']);
    await untilHolds("roots", []);
    assert.ok(existsSync(join(fixture.root, "layers", hexOf(layer), "fs", "a")));
  });
});

describe("copyVolumes()", () => {
  test("copies what the root has there, and makes an empty directory where it has nothing", async () => {
    const layer = await fixture.layer(
      { ...dir("data", 0o770), uid: 1000, gid: 2000 },
      { ...file("data/f"), uid: 5, gid: 6 },
      file("not-a-directory"),
    );
    await fixture.snapshots.mount("c1", [layer]);
    await fixture.snapshots.copyVolumes("c1", ["/data", "/new"], { uid: 3, gid: 4 });
    const [data, empty] = [0, 1].map((index) => fixture.snapshots.volumeOf("c1", index));
    assert.ok(data !== undefined && empty !== undefined);
    const facts = (path: string): readonly number[] => {
      const { uid, gid, mode } = statSync(path);
      return [uid, gid, mode & 0o7777];
    };
    assert.deepEqual(facts(data), [1000, 2000, 0o770]);
    assert.deepEqual(facts(join(data, "f")), [5, 6, 0o644]);
    assert.deepEqual(facts(empty), [3, 4, 0o755]);
    assert.deepEqual(readdirSync(empty), []);
    const before = await fixture.snapshots.usage("c1");
    assert.ok(before.inodes >= 4n, "volumes count as space of the container");
    await fixture.snapshots.mount("c2", [layer]);
    await assert.rejects(
      fixture.snapshots.copyVolumes("c2", ["/not-a-directory"], { uid: 0, gid: 0 }),
      (error) => isKind(error, "failed-precondition") && /"\/not-a-directory"/.test(String(error)),
    );
  });
});
