/** What containers changed, as the archive and the list of podman and CRI-O. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chownSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, beforeEach, describe, test } from "node:test";
import type { Digest } from "../../base/digest.ts";
import type { ChangesRequest } from "../../core/snapshot/index.ts";
import { setXattr } from "../../linux/file/index.ts";
import { listMounts } from "../../linux/mount/index.ts";
import type { TarEntry } from "../../unpack/tar-entry.ts";
import { TarReader } from "../../unpack/tar-reader.ts";
import { buildEntry } from "../../unpack/testing/tar-builder.ts";
import { digestOf, erofsObstacle, sourceOf, TestOverlay } from "./testing/layers.ts";

const never = new AbortController().signal;
const directory = mkdtempSync(join(tmpdir(), "davit-changes-"));
let fixture: TestOverlay;
let root: string;
let base: Digest;
let count = 0;

async function begin(format: "directory" | "erofs" = "directory"): Promise<void> {
  fixture = await TestOverlay.open(join(directory, `root-${count++}`), { format });
  base = await fixture.layer(
    { name: "file", data: "file" },
    { name: "gone", data: "gone" },
    { name: "dir/", type: "5" },
    { name: "dir/a", data: "a" },
    { name: "dir/deep/", type: "5" },
    { name: "dir/deep/b", data: "b" },
    { name: "link", type: "2", linkName: "dir" },
  );
  const top = await fixture.layer({ name: "dir/.wh.a", data: "" }, { name: "dir/c", data: "c" });
  await fixture.layers.complete([base, top], never);
  ({ path: root } = await fixture.roots.mount("c1", [base, top]));
  layers = [base, top];
}
let layers: readonly Digest[];

beforeEach(() => begin());
afterEach(async () => {
  await fixture.roots.remove("c1");
  await fixture[Symbol.asyncDispose]();
});
after(() => rmSync(directory, { recursive: true }));

interface Written {
  readonly entries: readonly TarEntry[];
  readonly deleted: readonly string[];
}

async function changes(
  more: Partial<ChangesRequest> = {},
  maxBytes = 2 ** 30,
  signal = never,
): Promise<Written> {
  const [archivePath, deletedPath] = [join(directory, "archive"), join(directory, "deleted")];
  const [archive, deleted] = [openSync(archivePath, "w"), openSync(deletedPath, "w")];
  try {
    const request = { containerId: "c1", layers, ...more };
    await fixture.changes.write(request, { archive, deleted, maxBytes }, signal);
  } finally {
    closeSync(archive);
    closeSync(deleted);
  }
  const entries: TarEntry[] = [];
  const nothing = (): void => undefined;
  const sink = { entry: (entry: TarEntry) => void entries.push(entry), endEntry: nothing };
  const reader = new TarReader({ ...sink, data: nothing, hole: nothing });
  reader.write(readFileSync(archivePath));
  reader.end();
  return { entries, deleted: JSON.parse(readFileSync(deletedPath, "utf8")) as string[] };
}

const namesOf = ({ entries }: Written): readonly string[] => entries.map(({ path }) => path);

describe("OverlayChanges.write()", () => {
  test("has nothing for a root that was not changed, and leaves no mount", async () => {
    const before = (await listMounts()).length;
    assert.deepEqual(await changes(), { entries: [], deleted: [] });
    assert.equal((await listMounts()).length, before);
    assert.deepEqual(readdirSync(join(fixture.root, "roots/c1/images")), []);
  });

  test("has new and changed files, and lists what is gone, also below directories that were made again", async () => {
    writeFileSync(join(root, "file"), "changed");
    rmSync(join(root, "gone"));
    rmSync(join(root, "dir"), { recursive: true });
    mkdirSync(join(root, "dir/deep"), { recursive: true });
    writeFileSync(join(root, "dir/new"), "");
    mkdirSync(join(root, "other"));
    const written = await changes();
    assert.deepEqual(namesOf(written), ["dir/", "dir/deep/", "dir/new", "file", "other/"]);
    // Not dir/a, which a layer hides already.
    assert.deepEqual(written.deleted.toSorted(), ["/dir/c", "/dir/deep/b", "/gone"]);
  });

  test("finds what a directory hides that takes the place of a link or a file", async () => {
    rmSync(join(root, "link"));
    mkdirSync(join(root, "link"));
    rmSync(join(root, "file"));
    mkdirSync(join(root, "file"));
    execFileSync("mv", [join(root, "dir/deep"), join(root, "moved")]);
    const written = await changes();
    assert.deepEqual(written.deleted, ["/dir/deep"]);
    assert.deepEqual(namesOf(written), ["dir/", "file/", "link/", "moved/", "moved/b"]);
  });

  test("has earlier changes as well, as far as they are not hidden", async () => {
    const earlier = await fixture.layer(
      { name: "kept", data: "earlier" },
      { name: "again", data: "earlier" },
      { name: "removed", data: "earlier" },
      { name: ".wh.gone", data: "" },
      { name: ".wh.file", data: "" },
      { name: "dir/.wh.deep", data: "" },
      { name: "dir/x", data: "earlier" },
      { name: "opaque/", type: "5" },
      { name: "opaque/old", data: "earlier" },
      { name: "both/", type: "5", mode: 0o700 },
      { name: "both/old", data: "earlier" },
    );
    await fixture.roots.remove("c1");
    const all = [...layers, earlier];
    await fixture.layers.complete(all, never);
    ({ path: root } = await fixture.roots.mount("c1", all));
    writeFileSync(join(root, "again"), "later");
    rmSync(join(root, "removed"));
    writeFileSync(join(root, "file"), "back");
    mkdirSync(join(root, "dir/deep"));
    rmSync(join(root, "opaque"), { recursive: true });
    mkdirSync(join(root, "opaque"));
    writeFileSync(join(root, "both/new"), "later");
    const written = await changes({ earlier });
    const expected = readdirSync(root, { recursive: true, encoding: "utf8" }).toSorted();
    // "removed" is of the earlier changes only: it is listed, which has no effect.
    assert.deepEqual(written.deleted.toSorted(), ["/dir/deep/b", "/gone", "/removed"]);
    const names = namesOf(written);
    assert.deepEqual(
      names.toSorted(),
      [
        ...[
          "again",
          "both/",
          "both/",
          "both/new",
          "both/old",
          "dir/",
          "dir/deep/",
          "dir/x",
          "file",
        ],
        ...["kept", "opaque/"],
      ].toSorted(),
    );
    // All of it on the image alone is the same root.
    const list = written.deleted.map((path) => {
      const slash = path.lastIndexOf("/") + 1;
      return { name: `${path.slice(1, slash)}.wh.${path.slice(slash)}`, data: "" };
    });
    const tar = Buffer.concat([...list.map(buildEntry), readFileSync(join(directory, "archive"))]);
    await fixture.layers.unpack(sourceOf(tar), never);
    const again = [...layers, digestOf(tar)];
    await fixture.layers.complete(again, never);
    const { path } = await fixture.roots.mount("c2", again);
    try {
      const found = readdirSync(path, { recursive: true, encoding: "utf8" }).toSorted();
      assert.deepEqual(found, expected);
      assert.equal(readFileSync(join(path, "again"), "utf8"), "later");
      assert.equal(statSync(join(path, "both")).mode & 0o777, 0o700);
    } finally {
      await fixture.roots.remove("c2");
    }
    assert.deepEqual(readdirSync(join(fixture.root, "roots/c1/images")), []);
  });

  test("leaves out sockets, and has links, devices and FIFOs as they are", async () => {
    const python = `import socket; socket.socket(socket.AF_UNIX).bind("${join(root, "socket")}")`;
    execFileSync("python3", ["-c", python]);
    symlinkSync("/etc/passwd", join(root, "symlink"));
    execFileSync("mkfifo", [join(root, "fifo")]);
    execFileSync("mknod", [join(root, "null"), "c", "1", "3"]);
    const { entries } = await changes();
    const found = entries.map(({ path, type, linkPath }) => [path, type, linkPath]);
    assert.deepEqual(found, [
      ["fifo", "fifo", ""],
      ["null", "char", ""],
      ["symlink", "symlink", "/etc/passwd"],
    ]);
  });

  test("has a whiteout for a path that is not UTF-8", async () => {
    await fixture.roots.remove("c1");
    const odd = await fixture.layer(
      { name: "odd\u00ff", data: "" },
      { name: "\u00c3\u00a4", data: "" },
    );
    layers = [base, odd];
    await fixture.layers.complete(layers, never);
    ({ path: root } = await fixture.roots.mount("c1", layers));
    execFileSync("sh", ["-c", 'rm odd* "$(printf "\\303\\244")"'], { cwd: root });
    const written = await changes();
    assert.deepEqual(written.deleted, ["/ä"]);
    assert.deepEqual(namesOf(written), [".wh.odd\u00ff"]);
  });

  test("writes owners in the ids of the user namespace, and nobody for others", async () => {
    for (const [name, id] of [
      ["root", 100_000],
      ["user", 101_000],
      ["outside", 5],
    ] as const) {
      writeFileSync(join(root, name), "");
      chownSync(join(root, name), id, id);
    }
    const ids = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const { entries } = await changes({ uids: ids, gids: ids });
    // The root itself is the node's, which is nobody there.
    assert.deepEqual(
      entries.map(({ path, uid, gid }) => [path, uid, gid]),
      [
        ["./", 65_534, 65_534],
        ["outside", 65_534, 65_534],
        ["root", 0, 0],
        ["user", 1000, 1000],
      ],
    );
  });

  test("refuses what only this overlay can read, as a kernel leaves it whose module says so", async () => {
    mkdirSync(join(root, "moved"));
    const upper = join(fixture.root, "roots/c1/upper/moved");
    setXattr(upper, "trusted.overlay.redirect", "/dir");
    const message = /"\/moved" was moved or changed .* redirect_dir=N/;
    await assert.rejects(changes(), { kind: "failed-precondition", message });
  });

  test("ends with a sparse file that is larger than the limit", async () => {
    writeFileSync(join(root, "sparse"), "");
    truncateSync(join(root, "sparse"), 10 * 1024 ** 3);
    const message = /read changes of container "c1": .*more than 1048576 bytes/;
    await assert.rejects(changes({}, 1024 ** 2), { kind: "resource-exhausted", message });
    await assert.rejects(changes({ containerId: "missing" }), { kind: "not-found" });
    const reason = new Error("the caller left");
    await assert.rejects(changes({}, 2 ** 40, AbortSignal.abort(reason)), /the caller left/);
  });

  test("reads layers that are images", async (context) => {
    const obstacle = await erofsObstacle(directory);
    if (obstacle !== false) {
      context.skip(obstacle);
      return;
    }
    await fixture.roots.remove("c1");
    await fixture[Symbol.asyncDispose]();
    await begin("erofs");
    rmSync(join(root, "dir"), { recursive: true });
    mkdirSync(join(root, "dir"));
    assert.deepEqual((await changes()).deleted.toSorted(), ["/dir/c", "/dir/deep"]);
  });
});
