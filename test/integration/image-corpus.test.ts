/**
 * The same images unpacked by davit and by Debian's containerd, and compared file by file. Their layers are one tree,
 * written by the programs that write layers, and the layouts of builders.
 */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { Containerd } from "../support/corpus/containerd.ts";
import { describeTree, differences } from "../support/corpus/describe.ts";
import { goArchive } from "../support/corpus/go-archive.ts";
import { capability, dir, file, link, symlink, type TreeNode } from "../support/corpus/tree.ts";
import { writeLayers } from "../support/corpus/writers.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { digestOf, imageOf, type Layer, layerOfTar, type TestImage } from "../support/images.ts";
import {
  container,
  createIn,
  Node,
  openPod,
  type Pod,
  pull,
} from "../support/suites/containers.ts";
import { bare, removePod } from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-corpus-"));
const begin = Date.now() / 1000 - 1;
const opaque = ".wh..wh..opq";

let node: Node;
let daemon: TestDaemon;
let containerd: Containerd;
let pod: Pod;

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
  containerd = await Containerd.start(path.join(directory, "containerd"));
  pod = await openPod(daemon, bare());
});
after(async () => {
  await removePod(daemon, pod.id).catch(() => undefined);
  await containerd[Symbol.asyncDispose]();
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

/** Pulls an image and gives the root of a container of it. */
async function unpackedHere(name: string): Promise<string> {
  const image = `images.test/corpus/${name}:1`;
  await pull(daemon, image);
  const id = await createIn(pod, { ...container(), image: { image } });
  return path.join(daemon.paths.root, "roots", id, "merged");
}

/** Where both have the root of the image. */
async function unpackedByBoth(
  name: string,
  image: TestImage,
): Promise<{ readonly ours: string; readonly theirs: string }> {
  await node.registry.push(`corpus/${name}`, image, ["1"]);
  const ours = await unpackedHere(name);
  const theirs = path.join(directory, "mounts", name);
  const theirName = `${node.registry.address}/corpus/${name}:1`;
  await containerd.pull(theirName);
  await containerd.mount(theirName, theirs);
  return { ours, theirs };
}

/** The root of an image that containerd rejects in these words. */
async function unpackedHereOnly(name: string, image: TestImage, words: RegExp): Promise<string> {
  await assert.rejects(unpackedByBoth(name, image), words);
  return await unpackedHere(name);
}

/** Checks that the two roots are equal, except for lines that match one of `allowed`. */
async function assertEqual(
  name: string,
  image: TestImage,
  ...allowed: readonly RegExp[]
): Promise<void> {
  const { ours, theirs } = await unpackedByBoth(name, image);
  const lines = differences(describeTree(ours, begin), describeTree(theirs, begin));
  assert.deepEqual(
    lines.filter((line) => !allowed.some((one) => one.test(line))),
    [],
  );
  for (const one of allowed)
    assert.ok(
      lines.some((line) => one.test(line)),
      `${one} no longer differs`,
    );
}

/** A layer that a builder in Go writes. */
const goLayer = (tree: readonly TreeNode[], options = {}): Layer =>
  layerOfTar(goArchive(tree, "pax", options));

const ociLayer = "application/vnd.oci.image.layer.v1.tar";
const dockerLayer = "application/vnd.docker.image.rootfs.diff.tar";

/** A layer whose blob is packed in a way of its own. */
function packed(tar: Buffer, bytes: Buffer, mediaType: string): Layer {
  return { mediaType, digest: digestOf(bytes), bytes, diffId: digestOf(tar) };
}

/** A frame that decoders of zstd skip: zstd:chunked keeps its table of contents in one (RFC 8878, 3.1.2). */
function skippableFrame(content: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32LE(0x184d2a50, 0);
  head.writeUInt32LE(content.length, 4);
  return Buffer.concat([head, Buffer.from(content)]);
}

const base: readonly TreeNode[] = [
  dir("etc", { mode: 0o711, uid: 1, gid: 2, seconds: 1_300_000_000 }),
  file("etc/config", "old", { mode: 0o600 }),
  file("etc/removed"),
  file("etc/shared", "shared", { uid: 3 }),
  link("etc/also shared", "etc/shared"),
  dir("opaque", { gid: 7 }),
  dir("opaque/below"),
  file("opaque/below/hidden"),
  file("opaque/hidden"),
  file("becomes a directory"),
  dir("becomes a file"),
  file("becomes a file/below"),
  dir("becomes a link"),
  symlink("lib", "usr/lib"),
  dir("usr"),
  dir("usr/lib", { mode: 0o775 }),
  file("usr/lib/kept"),
  dir("tmp", { mode: 0o1777 }),
];

describe("davit and containerd unpack the same from", () => {
  test("archives of one tree by GNU tar, bsdtar, Python and Go, except for times before 1970", async () => {
    const scratch = path.join(directory, "trees");
    mkdirSync(scratch);
    const written = writeLayers(scratch);
    const oldSparse = written.find(({ name }) => name === "gnu-tar-gnu-sparse");
    assert.ok(oldSparse);
    const layers = written
      .filter((one) => one !== oldSparse)
      .map(({ tar }, at) => layerOfTar(tar, (["gzip", "zstd", "none"] as const)[at % 3]));
    const { ours, theirs } = await unpackedByBoth("writers", imageOf(layers));
    const [here, there] = [describeTree(ours, begin), describeTree(theirs, begin)];
    for (const line of differences(here, there)) {
      assert.match(
        line,
        /^".*\/before 1970": davit .*"-1000000000000000".*containerd .*"time":"0"/,
      );
    }
    assert.ok(here.size > 500, `${here.size} files`);

    // containerd rejects the sparse files of GNU's own format; they are like those without holes.
    const image = imageOf([layerOfTar(oldSparse.tar)]);
    const rootOf = await unpackedHereOnly("old-sparse", image, /unhandled tar header type 83/);
    assert.deepEqual(
      differences(
        describeTree(path.join(rootOf, oldSparse.name), begin),
        describeTree(path.join(ours, "gnu-tar-gnu"), begin),
      ),
      [],
    );
  });

  test("layers without entries for their directories, with whiteouts and opaque directories", async () => {
    const changes = goLayer([
      file("etc/config", "new", { mode: 0o640, seconds: 1_600_000_000 }),
      file("etc/.wh.removed", ""),
      file(`opaque/${opaque}`, ""),
      file("opaque/shown"),
      file("becomes a directory/file"),
      file("becomes a file"),
      symlink("becomes a link", "usr"),
      file("lib/through a link"),
      file("tmp/made"),
      file("new/directory/file"),
      file(".wh..wh.aufs", ""),
    ]);
    const again = goLayer([
      file("etc/removed", "again"),
      file("opaque/.wh.shown", ""),
      dir("opaque/below"),
    ]);
    const replace = goLayer([file(".wh.becomes a directory", "", {}), dir("becomes a directory")]);
    // containerd gives directories without an entry the attributes of the lower ones, but not their time. It takes those
    // of the target where the lower one is a symbolic link, which the directory replaces in both.
    const newTimes =
      /^"\/(etc|opaque|tmp)": davit .*"time":"1\d*",(.*)\}, containerd .*"time":"new",\2\}$/;
    const throughLink = /^"\/lib": davit .*"0o755".*containerd .*"0o775"/;
    await assertEqual("buildkit", imageOf([goLayer(base), changes, again]), newTimes, throughLink);
    await assertEqual(
      "replaced",
      imageOf([goLayer(base), replace, changes]),
      newTimes,
      throughLink,
    );
  });

  test("layers that repeat all directories, with absolute targets of hard links", async () => {
    const parents = base.filter(({ type }) => type === "dir");
    const upper = goLayer(
      [
        ...parents,
        file("usr/lib/first", "linked"),
        link("usr/lib/second", "usr/lib/first"),
        link("etc/third", "usr/lib/first"),
        file("etc/.wh.removed", ""),
      ],
      { linkPrefix: "/" },
    );
    await assertEqual("kaniko", imageOf([goLayer(base), upper]));
  });

  test("archives with names that begin with a slash or ./, parents after children, and double entries", async () => {
    const disordered = goLayer([
      file("a/b/file"),
      dir("a/b", { mode: 0o700, uid: 5, seconds: 1_200_000_000 }),
      dir("a", { mode: 0o2755, gid: 6, seconds: 1_100_000_000 }),
      file("twice", "first", { mode: 0o600 }),
      file("twice", "second", { mode: 0o640 }),
      dir("a/b", { mode: 0o711, uid: 5, seconds: 1_250_000_000 }),
      symlink("file or link", "twice"),
      file("file or link", "a file"),
    ]);
    const slashes = goLayer([dir("s"), file("s/file"), link("s/link", "s/file")], { prefix: "/" });
    const dots = goLayer([dir("d"), file("d/file"), link("d/link", "d/file")], { prefix: "./" });
    const root = goLayer([dir("", { mode: 0o750, uid: 4 })], { prefix: "." });
    // containerd ignores an entry of the root itself; davit, Docker and CRI-O do not.
    const rootMode = /^"\/": davit .*"0o750","owner":\[4,0\].*containerd .*"0o755","owner":\[0,0\]/;
    await assertEqual("order", imageOf([disordered, slashes, dots, root]), rootMode);
  });

  test("hard links whose headers differ from that of their file, except for capabilities", async () => {
    const capable = file("capable", "x", { xattrs: { "security.capability": capability } });
    const files = goArchive([file("file", "x", { mode: 0o4755, uid: 9 }), capable], "pax");
    const other = { ...link("again", "link"), mode: 0o611, gid: 3, seconds: 5 };
    const links = goArchive([link("link", "file"), other, link("too", "capable")], "pax");
    const tar = Buffer.concat([files.subarray(0, -1024), links]);
    // A change of the owner, even to the same one, removes them (capabilities(7)).
    const lost = /^"\/(capable|too)": davit .*"security.capability".*containerd .*"xattrs":\{\}/;
    await assertEqual("links", imageOf([layerOfTar(tar)]), lost);
  });

  test("blobs in several gzip members and zstd frames, with tables of contents, empty ones, and equal ones", async () => {
    const [one, two, three] = ["one", "two", "three"].map((name) => goArchive([file(name)], "pax"));
    assert.ok(one && two && three);
    const empty = goArchive([], "pax");
    const none = Buffer.alloc(0);
    const cut = (tar: Buffer, pack: (bytes: Buffer) => Buffer): Buffer =>
      Buffer.concat([pack(tar.subarray(0, 700)), pack(none), pack(tar.subarray(700))]);
    const chunked = Buffer.concat([
      cut(two, zstdCompressSync),
      skippableFrame("{}"),
      skippableFrame("footer"),
    ]);
    const layers = [
      packed(one, cut(one, gzipSync), `${ociLayer}+gzip`),
      packed(two, chunked, `${ociLayer}+zstd`),
      packed(three, gzipSync(three), dockerLayer),
      packed(empty, gzipSync(empty), `${ociLayer}+gzip`),
      packed(one, cut(one, gzipSync), `${ociLayer}+gzip`),
    ];
    await assertEqual("packed", imageOf(layers));
    await assertEqual("bare", imageOf([]));
  });
});

describe("davit takes what containerd rejects:", () => {
  test("hard links to files of lower layers", async () => {
    const image = imageOf([goLayer(base), goLayer([link("linked", "etc/shared")])]);
    const root = await unpackedHereOnly("lower-link", image, /failed to extract layer/);
    const described = describeTree(root, begin);
    assert.equal(described.get("/linked"), described.get("/etc/shared"));
  });

  test("a compressed blob whose media type does not say so", async () => {
    const tar = goArchive([file("found")], "pax");
    const image = imageOf([packed(tar, zstdCompressSync(tar), ociLayer)]);
    const root = await unpackedHereOnly("mislabelled", image, /failed to extract layer/);
    assert.ok(describeTree(root, begin).has("/found"));
  });

  test("a blob without a byte", async () => {
    const none = Buffer.alloc(0);
    const image = imageOf([goLayer(base), packed(none, none, ociLayer)]);
    const root = await unpackedHereOnly("no-bytes", image, /content size of zero/);
    assert.ok(describeTree(root, begin).has("/etc/shared"));
  });
});
