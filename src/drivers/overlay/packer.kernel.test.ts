/** Layers as archives again: what is saved unpacks to the same files, and always has the same bytes. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";

import { type Digest, hexOf } from "../../base/digest.ts";
import type { PackedImage } from "../../core/snapshot/index.ts";
import type { BuiltEntry } from "../../unpack/testing/tar-builder.ts";
import type { TarEntry } from "../../unpack/tar-entry.ts";
import { TarReader } from "../../unpack/tar-reader.ts";
import { describeTree, digestOf, sourceOf, TestOverlay } from "./testing/layers.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-pack-"));
let fixture: TestOverlay;
let count = 0;

beforeEach(async () => {
  fixture = await TestOverlay.open(join(directory, `root-${count++}`));
});
afterEach(() => fixture[Symbol.asyncDispose]());
after(() => rmSync(directory, { recursive: true }));

const long = "long-".repeat(30);

/** Everything that a layer can have. */
const everything: readonly BuiltEntry[] = [
  { name: "etc/", type: "5", mode: 0o750, uid: 3, gid: 4, pax: { mtime: "1700000000.123456789" } },
  {
    name: "etc/passwd",
    data: "root\n",
    mode: 0o4755,
    uid: 5_000_000,
    gid: 6,
    pax: { mtime: "1.5" },
  },
  { name: "etc/empty", data: "" },
  { name: "etc/link", type: "1", linkName: "etc/passwd" },
  { name: "etc/sym", type: "2", linkName: "../bin/sh" },
  { name: `etc/${long}`, pax: { path: `etc/${long}` }, data: Buffer.alloc(300_000, "x") },
  { name: "n\u00e4me\u00ff", data: "latin1 bytes" },
  {
    name: "attributes",
    data: "x",
    pax: {
      "SCHILY.xattr.user.one": "1\u0000\u00ff",
      "SCHILY.xattr.security.capability":
        "\u0001\u0000\u0000\u0002\u0000\u0004\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000",
    },
  },
  { name: "dev/", type: "5" },
  { name: "dev/null", type: "3", major: 1, minor: 3, mode: 0o666 },
  { name: "dev/disk", type: "4", major: 259, minor: 65_537, mode: 0o660 },
  { name: "dev/fifo", type: "6" },
  { name: "old", pax: { mtime: "-1.5" }, data: "before 1970" },
  { name: "implied/deep/file", data: "without entries for its parents" },
  { name: "gone/.wh.file", data: "" },
  { name: "opaque/", type: "5" },
  { name: "opaque/.wh..wh..opq", data: "" },
  { name: "opaque/new", data: "new" },
  { name: "below/link", type: "1", linkName: "below/file" },
];

function image(layers: readonly Digest[], names: readonly string[] = []): PackedImage {
  return { names, layers, configJson: JSON.stringify({ os: "linux", config: { Cmd: ["x"] } }) };
}

async function pack(...images: readonly PackedImage[]): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for await (const part of fixture.packer.pack(images, never)) parts.push(part);
  return Buffer.concat(parts);
}

interface Read {
  readonly entry: TarEntry;
  readonly data: Buffer;
}

function readArchive(archive: Buffer): readonly Read[] {
  const found: Read[] = [];
  const parts: Buffer[] = [];
  let current: TarEntry | undefined;
  const reader = new TarReader({
    entry: (entry) => {
      current = entry;
    },
    data: (bytes) => void parts.push(Buffer.from(bytes)),
    hole: () => assert.fail("a hole"),
    endEntry: () => {
      if (current !== undefined) found.push({ entry: current, data: Buffer.concat(parts) });
      parts.length = 0;
    },
  });
  reader.write(archive);
  reader.end();
  return found;
}

/** The files of an archive by name. */
function filesOf(archive: Buffer): ReadonlyMap<string, Buffer> {
  return new Map(readArchive(archive).map(({ entry, data }) => [entry.path, data]));
}

describe("a packed image", () => {
  test("unpacks to the same files, and is packed to the same bytes again", async () => {
    const lower = await fixture.layer({ name: "below/file", data: "of the lower layer" });
    const upper = await fixture.layer(...everything);
    await fixture.layers.complete([lower, upper], never);
    const archive = await pack(image([lower, upper], ["docker.io/library/app:1"]));
    assert.ok(archive.equals(await pack(image([lower, upper], ["docker.io/library/app:1"]))));

    const files = filesOf(archive);
    const [docker] = JSON.parse(files.get("manifest.json")?.toString() ?? "") as [
      { Config: string; RepoTags: string[]; Layers: string[] },
    ];
    assert.deepEqual(docker.RepoTags, ["docker.io/library/app:1"]);
    const config = JSON.parse(files.get(docker.Config)?.toString() ?? "") as {
      os: string;
      rootfs: { diff_ids: Digest[] };
    };
    assert.equal(config.os, "linux");
    const again: Digest[] = [];
    for (const [at, name] of docker.Layers.entries()) {
      const tar = files.get(name);
      assert.ok(tar);
      assert.equal(digestOf(tar), config.rootfs.diff_ids[at]);
      await fixture.layers.unpack(sourceOf(tar), never);
      again.push(digestOf(tar));
    }
    await fixture.layers.complete(again, never);
    // The directories with entries; the others have the times of the unpacking.
    for (const name of ["etc", "dev", "opaque"]) {
      const treeOf = (of: Digest): string =>
        describeTree(join(fixture.root, "layers", hexOf(of), "fs", name)).toString("latin1");
      assert.equal(treeOf(again[1] ?? upper), treeOf(upper), name);
    }
    assert.deepEqual(listOf(again[1] ?? upper), listOf(upper));
    const second = await pack(image(again, ["docker.io/library/app:1"]));
    const [dockerAgain] = JSON.parse(filesOf(second).get("manifest.json")?.toString() ?? "") as [
      typeof docker,
    ];
    assert.deepEqual(dockerAgain, docker);
  });

  test("has its marks of overlayfs as whiteouts, and no attribute of the node", async () => {
    const upper = await fixture.layer(...everything);
    const files = filesOf(await pack(image([upper])));
    const layer = [...files].find(([, bytes]) => bytes.includes("latin1 bytes"))?.[1];
    assert.ok(layer);
    const entries = readArchive(layer);
    const names = entries.map(({ entry }) => entry.path);
    assert.ok(names.includes("gone/.wh.file") && names.includes("opaque/.wh..wh..opq"));
    assert.ok(!names.includes("implied/") && names.includes("implied/deep/file"));
    assert.deepEqual(
      names.slice(0, -1),
      names.slice(0, -1).toSorted((a, b) => order(a, b)),
    );
    const attributes = entries.flatMap(({ entry }) => [...entry.xattrs.keys()]);
    assert.deepEqual(attributes.toSorted(), ["security.capability", "user.one"]);
    const link = entries.find(({ entry }) => entry.path === "below/link")?.entry;
    assert.deepEqual([link?.type, link?.linkPath], ["link", "below/file"]);
  });

  test("shares layers with others, and has no name without one", async () => {
    const base = await fixture.layer({ name: "base", data: "base" });
    const top = await fixture.layer({ name: "top", data: "top" });
    const archive = await pack(image([base]), image([base, top], ["a.test/b:1", "a.test/b:2"]));
    const names = readArchive(archive).map(({ entry }) => entry.path);
    assert.equal(names.filter((name) => name.startsWith("blobs/")).length, 2 * 2 + 2);
    const files = filesOf(archive);
    const docker = JSON.parse(files.get("manifest.json")?.toString() ?? "") as {
      RepoTags: unknown;
    }[];
    assert.deepEqual(
      docker.map(({ RepoTags }) => RepoTags),
      [null, ["a.test/b:1", "a.test/b:2"]],
    );
    const index = JSON.parse(files.get("index.json")?.toString() ?? "") as { manifests: unknown[] };
    assert.equal(index.manifests.length, 3);
  });

  test("hides everything below a layer that does", async () => {
    const top = await fixture.layer({ name: ".wh..wh..opq" }, { name: "new", data: "new" });
    const files = filesOf(await pack(image([top])));
    const layer = [...files.values()].find((bytes) => bytes.includes(".wh..wh..opq"));
    assert.ok(layer);
    await fixture.layers.remove(top);
    await fixture.layers.unpack(sourceOf(layer), never);
    const facts = readdirSync(join(fixture.root, "layers")).filter((name) =>
      /^[0-9a-f]{64}$/.test(name),
    );
    assert.equal(facts.length, 1);
    assert.equal(fixture.layers.lowerOf([digestOf(layer)]).length, 1);
  });
});

test("the archive of a layer alone is the one in an image", async () => {
  const layer = await fixture.layer(...everything.filter(({ name }) => name !== "below/link"));
  const parts: Uint8Array[] = [];
  for await (const part of fixture.packer.archive(layer, never)) parts.push(part);
  const [digest] = await fixture.packer.digests([layer], never);
  assert.equal(digestOf(Buffer.concat(parts)), digest);
});

describe("a packer", () => {
  test("reports a missing layer, and ends with its caller", async () => {
    const layer = await fixture.layer({ name: "file", data: Buffer.alloc(8_000_000, "x") });
    await assert.rejects(pack(image([digestOf(Buffer.from("nothing"))])), { kind: "not-found" });
    const caller = new AbortController();
    const parts = fixture.packer.pack([image([layer])], caller.signal)[Symbol.asyncIterator]();
    await parts.next();
    caller.abort(new Error("left"));
    await assert.rejects(
      async () => {
        while ((await parts.next()).done !== true);
      },
      { message: "left" },
    );
  });

  test("finds a file that was changed by the digest of the layer", async () => {
    const layer = await fixture.layer(
      { name: "file", data: "content" },
      { name: "other", data: "x" },
    );
    const [before] = await fixture.packer.digests([layer], never);
    assert.deepEqual(await fixture.packer.digests([layer], never), [before]);
    writeFileSync(join(fixture.root, "layers", hexOf(layer), "fs", "file"), "CONTENT");
    const [afterwards] = await fixture.packer.digests([layer], never);
    assert.notEqual(afterwards, before);
  });
});

/** Directories before their content, names by their bytes. */
function order(a: string, b: string): number {
  const [left, right] = [a.split("/"), b.split("/")];
  for (const [at, name] of left.entries()) {
    const other = right[at];
    if (other === undefined) return 1;
    if (name !== other) return name < other ? -1 : 1;
  }
  return -1;
}

function listOf(layer: Digest): readonly string[] {
  const root = join(fixture.root, "layers", hexOf(layer), "fs");
  return readdirSync(root, { recursive: true, encoding: "latin1" }).toSorted();
}
