/** Layers that are EROFS images: when they are mounted, by whom they are used, and what happens without support. */
import assert from "node:assert/strict";
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";

import { type Digest, hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { type LayerSource, unpackInAnyFormat } from "../../core/snapshot/index.ts";
import { silentLogger } from "../../base/logger.ts";
import { bytesOf } from "../../base/unread-bytes.ts";
import { listMounts, makePrivateBind, mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { pinNamespaces, unpinNamespace } from "../../linux/namespace/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { dir, file, hard, never } from "./testing/fixture.ts";
import { erofsObstacle, sourceOf, TestOverlay } from "./testing/layers.ts";

const skip = await erofsObstacle();
const directory = mkdtempSync(join(tmpdir(), "davit-erofs-"));
let root = "";
let overlay: TestOverlay;
let count = 0;

beforeEach(async () => {
  root = join(directory, `root-${count++}`);
  overlay = await TestOverlay.open(root, { format: "erofs" });
});
afterEach(async () => {
  for (const name of readdirSync(join(root, "roots"))) {
    if (!name.startsWith(".")) await overlay.roots.remove(name);
  }
  await overlay[Symbol.asyncDispose]();
  assert.deepEqual(await mountsIn(directory), []);
});
after(() => rmSync(directory, { recursive: true }));

async function mountsIn(path: string): Promise<readonly string[]> {
  const points = (await listMounts()).map(({ mountPoint }) => mountPoint);
  return points.filter((point) => point.startsWith(path));
}

/** The layers that are mounted now. */
async function mountedLayers(): Promise<readonly string[]> {
  const mounts = await mountsIn(`${root}/layers/`);
  return mounts.map((path) => path.slice(`${root}/layers/`.length)).sort();
}

/** An archive of more files than an image is allowed to have here. */
function tooManyFiles(): LayerSource {
  const source = sourceOf(buildTar(Array.from({ length: 100 }, (_, at) => file(`file-${at}`))));
  return { ...source, limits: { names: 10_000 } as LayerSource["limits"] };
}

const mountPointOf = (layer: Digest): string => `${hexOf(layer)}/fs`;
const read = (path: string, name: string): string => readFileSync(join(path, name), "utf8");

describe("a layer with more files than an image holds", { skip }, () => {
  test("is a directory, beside others that are images", async () => {
    const { diffId } = tooManyFiles();
    await unpackInAnyFormat(() => overlay.layers.unpack(tooManyFiles(), never));
    const layers = [await overlay.layer(file("low")), diffId];
    await overlay.layers.synced();
    const names = readdirSync(join(root, "layers", hexOf(diffId)));
    assert.deepEqual(names, ["fs", "layer.json", "unclaimed"]);
    const { path } = await overlay.roots.mount("one", layers);
    assert.equal(read(path, "file-99"), "file-99");
    assert.equal(read(path, "low"), "low");
    assert.deepEqual(await mountedLayers(), layers.slice(0, 1).map(mountPointOf));
  });

  test("is refused once, with the reason", async () => {
    await assert.rejects(overlay.layers.unpack(tooManyFiles(), never), (error) => {
      assert.match(String(error), /too many files for an EROFS image: .* 10000 bytes of memory/);
      return isKind(error, "unimplemented");
    });
    assert.deepEqual(overlay.layers.list(), []);
  });
});

describe("mounts of layers", { skip }, () => {
  test("exist while a root uses the layer, one for all roots", async () => {
    const layers = [await overlay.layer(file("low")), await overlay.layer(file("high"))];
    assert.deepEqual(await mountedLayers(), []);
    await overlay.roots.mount("one", layers);
    await overlay.roots.mount("two", layers);
    assert.deepEqual(await mountedLayers(), layers.map(mountPointOf).sort());
    await overlay.roots.remove("one");
    assert.deepEqual(await mountedLayers(), layers.map(mountPointOf).sort());
    await overlay.roots.remove("two");
    assert.deepEqual(await mountedLayers(), []);
  });

  test("are found by the next daemon, which unmounts those without a root", async () => {
    const layers = [await overlay.layer(file("used")), await overlay.layer(file("lost"))] as const;
    const { path } = await overlay.roots.mount("kept", [layers[0]]);
    await overlay.layers.use("a pull that was killed", [layers[1]]);
    assert.equal((await mountedLayers()).length, 2);
    // As after kill -9: nothing was closed.
    overlay = await TestOverlay.open(root, { format: "directory" });
    assert.deepEqual(await mountedLayers(), [mountPointOf(layers[0])]);
    assert.equal(read(path, "used"), "used");
    assert.equal(read((await overlay.roots.mount("new", layers)).path, "lost"), "lost");
    await overlay.roots.remove("kept");
    await overlay.roots.remove("new");
    assert.deepEqual(await mountedLayers(), []);
  });

  test("are made again when somebody has unmounted them", async () => {
    const layer = await overlay.layer(file("file"));
    await overlay.roots.mount("one", [layer]);
    await unmount(join(root, "layers", mountPointOf(layer)));
    assert.equal(read((await overlay.roots.mount("two", [layer])).path, "file"), "file");
  });

  test("a root keeps the files of a layer that is removed and unpacked again", async () => {
    const layer = await overlay.layer(file("file", "old"));
    const { path } = await overlay.roots.mount("one", [layer]);
    await overlay.layers.remove(layer);
    const name = join(root, "layers", hexOf(layer));
    await until("the layer is deleted", () => !existsSync(name));
    await until("all of it", () => readdirSync(join(root, "layers")).join() === ".empty");
    assert.equal(read(path, "file"), "old");
    assert.equal(await overlay.layer(file("file", "old")), layer);
    const again = await overlay.roots.mount("two", [layer]);
    await overlay.roots.remove("one");
    assert.equal(read(again.path, "file"), "old");
  });

  test("a damaged image fails the root, and leaves nothing", async () => {
    const layer = await overlay.layer(file("file"));
    truncateSync(join(root, "layers", hexOf(layer), "image/layer.erofs"), 1000);
    await assert.rejects(overlay.roots.mount("one", [layer]), (error) => {
      assert.match(
        String(error),
        /root of container "one".*mount layer "sha256:.*pull the image again/,
      );
      return true;
    });
    assert.deepEqual(await mountedLayers(), []);
    assert.deepEqual(readdirSync(join(root, "roots")), []);
  });
});

describe("roots on images", { skip }, () => {
  test("whiteouts and opaque directories hide lower layers, of both formats", async () => {
    const lower = [file("gone"), dir("opaque"), file("opaque/old"), dir("kept"), file("kept/old")];
    const upper = [
      file(".wh.gone", ""),
      dir("opaque"),
      file("opaque/.wh..wh..opq", ""),
      file("opaque/new"),
      dir("kept"),
      file("kept/new"),
    ];
    const [images, directories] = [overlay, await TestOverlay.open(root)];
    for (const [at, [one, two]] of [
      [images, images],
      [images, directories],
      [directories, images],
    ].entries()) {
      const layers = [
        await one?.layer(...lower, file(`${at}`)),
        await two?.layer(...upper, file(`${at}`)),
      ];
      const chain = layers.filter((layer) => layer !== undefined);
      await using again = await TestOverlay.open(root, { format: "erofs" });
      const { path } = await again.roots.mount(`c${at}`, chain);
      assert.deepEqual(readdirSync(path).sort(), [`${at}`, "kept", "opaque"]);
      assert.deepEqual(readdirSync(join(path, "opaque")), ["new"]);
      assert.deepEqual(readdirSync(join(path, "kept")).sort(), ["new", "old"]);
      writeFileSync(join(path, "kept/old"), "changed");
      assert.equal(read(path, "kept/old"), "changed");
      await again.roots.remove(`c${at}`);
    }
    await directories[Symbol.asyncDispose]();
  });

  test("in a user namespace, with image volumes", async () => {
    const namespace = join(directory, "user");
    const ids = { containerId: 0, hostId: 500_000, length: 65_536 };
    await makePrivateBind(directory);
    await pinNamespaces({ user: namespace, users: { uids: ids, gids: ids } });
    const users = { namespace, uid: 500_000, gid: 500_000 };
    const layer = await overlay.layer({ ...file("file"), uid: 7, mode: 0o4755 });
    const { path } = await overlay.roots.mount("one", [layer], undefined, { users });
    assert.equal(lstatSync(join(path, "file")).uid, 500_007);
    assert.equal(statSync(path).uid, 500_000);
    const other = await overlay.layer(dir("part"), file("part/file", "volume"));
    const volume = { name: "image", image: other, layers: [other] };
    const volumes = [
      { ...volume, subPath: "" },
      { ...volume, subPath: "part" },
    ];
    await overlay.roots.mountImages("one", volumes, { users });
    assert.equal(read(overlay.roots.imageVolumeOf("one", 1), "file"), "volume");
    assert.equal(lstatSync(join(overlay.roots.imageVolumeOf("one", 0), "part")).uid, 500_000);
    await overlay.roots.mount("two", [layer]);
    await overlay.roots.mountImages("two", volumes);
    assert.equal(read(overlay.roots.imageVolumeOf("two", 1), "file"), "volume");
    assert.equal((await mountedLayers()).length, 2);
    for (const name of ["one", "two"]) await overlay.roots.remove(name);
    assert.deepEqual(await mountedLayers(), []);
    await unpinNamespace(namespace);
    await unmount(directory);
  });

  test("hard links to files of lower layers, and directories without an entry", async () => {
    const base = [
      { ...dir("tmp", 0o1777), uid: 3 },
      { ...file("x", "program"), mode: 0o4711, uid: 7, pax: { "SCHILY.xattr.user.a": "b" } },
      { name: "soft", type: "2", linkName: "x", uid: 9 },
      { name: "null", type: "3", major: 1, minor: 3, mode: 0o622 },
    ] as readonly BuiltEntry[];
    const links = [hard("y", "x"), hard("z", "x"), hard("s", "soft"), hard("n", "null")];
    const layers = [await overlay.layer(...base), await overlay.layer(...links, file("tmp/new"))];
    await overlay.layers.complete(layers, never);
    assert.deepEqual(await mountedLayers(), []);
    const { path } = await overlay.roots.mount("one", layers);
    const [x, y, z, s, n] = ["x", "y", "z", "s", "n"].map((name) => lstatSync(join(path, name)));
    assert.equal(read(path, "y"), "program");
    for (const each of [y, z]) {
      const { mode = 0, uid, mtimeMs } = each ?? {};
      assert.deepEqual([mode & 0o7777, uid, mtimeMs], [0o4711, 7, x?.mtimeMs]);
    }
    assert.equal(y?.ino, z?.ino);
    assert.deepEqual([s?.isSymbolicLink(), s?.uid], [true, 9]);
    assert.deepEqual(
      [n?.isCharacterDevice(), n?.rdev, (n?.mode ?? 0) & 0o777],
      [true, 0x103, 0o622],
    );
    const tmp = statSync(join(path, "tmp"));
    assert.deepEqual([tmp.mode & 0o7777, tmp.uid], [0o1777, 3]);
  });
});

test("without support, layers are directories, and images are missing, with the reason in the log", {
  skip,
}, async () => {
  const layer = await overlay.layer(file("file"));
  const lines: string[] = [];
  const log = { ...silentLogger, warn: (line: string) => void lines.push(line) };
  const other = join(directory, "tmpfs");
  mkdirSync(other);
  // The kernel mounts no image from it: its files have no pages that can be read ahead.
  await mountTmpfs(other, { sizeBytes: 2 ** 24, mode: 0o700 });
  {
    await using without = await TestOverlay.open(other, { format: "erofs", log });
    assert.equal(without.layers.format, "directory");
    assert.match(
      lines.join("\n"),
      /^layers are unpacked into directories.*cannot mount an image in .*6\.12/,
    );
    const made = await without.layer(file("file"));
    assert.equal(read((await without.roots.mount("one", [made])).path, "file"), "file");
    await without.roots.remove("one");
  }
  cpSync(join(root, "layers"), join(other, "layers"), { recursive: true });
  lines.length = 0;
  {
    await using without = await TestOverlay.open(other, { log });
    assert.equal(without.layers.has(layer), false);
    assert.equal(without.layers.lacking([layer]), layer);
    assert.match(
      lines.join("\n"),
      /^layer "sha256:.*ignored until it is pulled again: it is stored as an EROFS image/,
    );
    assert.equal(await without.layer(file("file")), layer);
    assert.equal(read((await without.roots.mount("one", [layer])).path, "file"), "file");
    await without.roots.remove("one");
  }
  await unmount(other);
});

describe("unpacking an image", { skip }, () => {
  test("a layer takes one file, and its facts are not those of an older davit", async () => {
    const layer = await overlay.layer(...Array.from({ length: 200 }, (_, n) => file(`f${n}`)));
    await overlay.layers.synced();
    const path = join(root, "layers", hexOf(layer));
    assert.deepEqual(readdirSync(path).sort(), ["fs", "image", "layer.json", "unclaimed"]);
    assert.deepEqual(readdirSync(join(path, "image")), ["layer.erofs"]);
    const { bytes, inodes } = overlay.layers.usage();
    assert.ok(inodes < 5n && bytes < 100_000n, `${bytes} bytes, ${inodes} inodes`);
    const facts = JSON.parse(read(path, "layer.json")) as Record<string, unknown>;
    assert.deepEqual([facts["version"], facts["bytes"]], [3, undefined]);
    await using next = await TestOverlay.open(root);
    assert.deepEqual(next.layers.usage(), { bytes, inodes });
  });

  test("a failure in the middle leaves nothing, also after a restart", async () => {
    const source = sourceOf(buildTar([file("a"), file("b", "x".repeat(100_000))]));
    async function* cut(): AsyncGenerator<Uint8Array> {
      for await (const chunk of source.chunks) {
        yield (await bytesOf(chunk)).subarray(0, 2000);
        throw new Error("the source ends");
      }
    }
    await assert.rejects(overlay.layers.unpack({ ...source, chunks: cut() }, never), /source ends/);
    assert.deepEqual(readdirSync(join(root, "layers")), [".empty"]);
    mkdirSync(join(root, "layers/.new-killed/image"), { recursive: true });
    writeFileSync(join(root, "layers/.new-killed/image/layer.erofs"), "half");
    assert.equal((await overlay.layers.sweep()).length, 1);
    await until("it is deleted", () => readdirSync(join(root, "layers")).join() === ".empty");
  });

  test("entries that lead out of the layer are refused", async () => {
    for (const name of ["../out", "a/../../out"]) {
      const source = sourceOf(buildTar([file(name)]));
      await assert.rejects(overlay.layers.unpack(source, never), (error) =>
        isKind(error, "invalid-argument"),
      );
    }
  });
});
