// Roots on a file system of their own, here a tmpfs.
import assert from "node:assert/strict";
import {
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
import { after, test } from "node:test";
import { mountTmpfs, unmount } from "../../linux/mount/index.ts";
import { file } from "./testing/fixture.ts";
import { TestOverlay } from "./testing/layers.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-separate-"));
const writableRoot = join(directory, "writable");
mkdirSync(writableRoot);
await mountTmpfs(writableRoot, { sizeBytes: 8 * 2 ** 20, mode: 0o755 });
after(async () => {
  await unmount(writableRoot);
  rmSync(directory, { recursive: true });
});

let count = 0;
const newRoot = (): string => join(directory, `root-${count++}`);

/** A log that only keeps warnings. */
function warnings() {
  const lines: string[] = [];
  const none = (): void => undefined;
  const warn = (text: string): void => void lines.push(text);
  const log = { debug: none, info: none, error: none, warn, with: () => log };
  return { log, lines };
}

test("writable layers are on the other file system, and layers are not", async () => {
  const root = newRoot();
  const overlay = await TestOverlay.open(root, { writableRoot });
  const layer = await overlay.layer(file("of-the-image"));
  const { roots } = overlay;
  const mounted = await roots.mount("one", [layer]);
  assert.equal(mounted.path, join(root, "roots/one/merged"));
  writeFileSync(join(mounted.path, "written"), "by the container");
  assert.equal(readFileSync(join(mounted.path, "of-the-image"), "utf8"), "of-the-image");
  const upper = join(writableRoot, "roots/one/upper");
  assert.deepEqual(readdirSync(upper), ["written"]);
  assert.notEqual(statSync(upper).dev, statSync(join(root, "layers")).dev);
  assert.equal(roots.directory, writableRoot);
  assert.ok(((await roots.separateUsage())?.inodes ?? 0n) > 5n);
  await roots.remove("one");
  await overlay[Symbol.asyncDispose]();
  assert.deepEqual(readdirSync(join(writableRoot, "roots")), []);
});

test("roots stay where they are when the setting changes, until there are none", async () => {
  const root = newRoot();
  const { log, lines } = warnings();
  const first = await TestOverlay.open(root, { log });
  await first.roots.mount("old", []);
  assert.equal(await first.roots.separateUsage(), undefined);

  const second = await TestOverlay.open(root, { writableRoot, log });
  assert.match(lines.join(), /new writable layers are not in ".*writable\/roots" yet.*drain/);
  assert.equal(await second.roots.separateUsage(), undefined);
  assert.ok(statSync(second.roots.pathOf("old")).isDirectory());
  await second.roots.remove("old");
  await second[Symbol.asyncDispose]();

  const third = await TestOverlay.open(root, { writableRoot, log });
  await third.roots.mount("new", []);
  assert.ok((await third.roots.separateUsage()) !== undefined);
  assert.deepEqual(readdirSync(join(writableRoot, "roots")), ["new"]);

  const fourth = await TestOverlay.open(root, { log });
  assert.match(
    lines.at(-1) ?? "",
    /stay on another file system, although writable_root is not set/,
  );
  await fourth.roots.remove("new");
  await fourth[Symbol.asyncDispose]();
});

test("a directory on the file system of the layers is used, with a warning", async () => {
  const root = newRoot();
  const { log, lines } = warnings();
  const overlay = await TestOverlay.open(root, { writableRoot: join(directory, "same"), log });
  assert.match(lines.join(), /is on the same file system as root/);
  assert.equal(await overlay.roots.separateUsage(), undefined);
  assert.equal(overlay.roots.directory, root);
  await overlay[Symbol.asyncDispose]();
});
