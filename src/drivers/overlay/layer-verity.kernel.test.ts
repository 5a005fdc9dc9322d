// fs-verity of layers that are EROFS images, on an ext4 in a file. Kernels without it skip these tests.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { type Digest, hexOf } from "../../base/digest.ts";
import { isKind } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { enableVerity, measureVerity } from "../../linux/file/index.ts";
import { unmount } from "../../linux/mount/index.ts";
import { LayerVerity } from "./layer-verity.ts";
import { StateLayout } from "./state-layout.ts";
import { file, never } from "./testing/fixture.ts";
import { erofsObstacle, TestOverlay } from "./testing/layers.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-verity-"));
const disk = join(directory, "disk");
const noVerity = await mountDisk();
const noImages = await erofsObstacle(noVerity === undefined ? disk : directory);
after(async () => {
  await unmount(disk);
  rmSync(directory, { recursive: true });
});

/** Mounts an ext4 with fs-verity; or the reason why this machine cannot. */
async function mountDisk(): Promise<string | undefined> {
  const image = join(directory, "ext4.img");
  writeFileSync(image, "");
  truncateSync(image, 64 * 2 ** 20);
  mkdirSync(disk);
  for (const [program, ...args] of [
    ["mkfs.ext4", "-q", "-O", "verity", "-b", "4096", image],
    ["mount", "-o", "loop", image, disk],
  ]) {
    const { error, status, stderr } = spawnSync(program ?? "", args, { encoding: "utf8" });
    if (error !== undefined) return `${program} cannot be started: ${error.message}`;
    if (status !== 0) return `${program} failed: ${stderr.trim().split("\n")[0]}`;
  }
  writeFileSync(join(disk, "probe"), "probe");
  return await enableVerity(join(disk, "probe")).then(
    () => undefined,
    (cause: unknown) => String(cause),
  );
}

const imageOf = (root: string, layer: Digest): string =>
  join(root, "layers", hexOf(layer), "image/layer.erofs");

async function problemsOf(overlay: TestOverlay, layer: Digest): Promise<readonly string[]> {
  const problems: string[] = [];
  for await (const { problem } of overlay.checker.check([layer], { deep: false }, never)) {
    problems.push(problem);
  }
  return problems;
}

const skip = noImages === false ? (noVerity ?? false) : noImages;

describe("fs-verity of layers", () => {
  test("is enabled, recorded and compared at each mount", { skip }, async () => {
    const root = join(disk, "compared");
    await using overlay = await TestOverlay.open(root, { format: "erofs" });
    assert.equal(overlay.layers.verity, "on");
    const layer = await overlay.layer(file("file", "content"));
    const image = imageOf(root, layer);
    assert.match((await measureVerity(image)) ?? "", /^sha256:[0-9a-f]{64}$/);
    assert.throws(() => openSync(image, "r+"), { code: "EPERM" });
    const { path } = await overlay.roots.mount("one", [layer]);
    assert.equal(readFileSync(join(path, "file"), "utf8"), "content");
    await overlay.roots.remove("one");
    assert.deepEqual(await problemsOf(overlay, layer), []);
  });

  test("names a file that was replaced, until the layer is unpacked again", { skip }, async () => {
    const root = join(disk, "replaced");
    await using overlay = await TestOverlay.open(root, { format: "erofs" });
    const layer = await overlay.layer(file("file", "content"));
    const image = imageOf(root, layer);
    const bytes = readFileSync(image);
    bytes.write("CONTENT", bytes.indexOf("content"));
    rmSync(image);
    writeFileSync(image, bytes);
    const isRefused = (is: RegExp) => (error: unknown) => {
      const { message } = error as Error;
      assert.ok(message.includes(`layer "${layer}"`) && message.includes(image), message);
      assert.match(message, is);
      assert.match(message, /run "davit images check --repair"/);
      return isKind(error, "data-loss");
    };
    await assert.rejects(overlay.roots.mount("one", [layer]), isRefused(/has no fs-verity/));
    assert.match((await problemsOf(overlay, layer))[0] ?? "", /its fs-verity digest is missing/);
    await enableVerity(image);
    await assert.rejects(
      overlay.roots.mount("one", [layer]),
      isRefused(/has the fs-verity digest/),
    );
    assert.match((await problemsOf(overlay, layer))[0] ?? "", /is another file/);
    // As the repair does.
    await overlay.layers.remove(layer);
    await overlay.layer(file("file", "content"));
    const { path } = await overlay.roots.mount("one", [layer]);
    assert.equal(readFileSync(join(path, "file"), "utf8"), "content");
    await overlay.roots.remove("one");
  });

  test("is known to the next daemon, and not used when it is off", { skip }, async () => {
    const root = join(disk, "next");
    let layer: Digest;
    {
      await using overlay = await TestOverlay.open(root, { format: "erofs" });
      layer = await overlay.layer(file("file", "content"));
      const copy = readFileSync(imageOf(root, layer));
      rmSync(imageOf(root, layer));
      writeFileSync(imageOf(root, layer), copy);
    }
    {
      await using overlay = await TestOverlay.open(root, { format: "erofs" });
      await assert.rejects(overlay.roots.mount("one", [layer]), (error) =>
        isKind(error, "data-loss"),
      );
    }
    await using off = await TestOverlay.open(root, { format: "erofs", verity: "off" });
    await off.roots.mount("one", [layer]);
    await off.roots.remove("one");
    const plain = await off.layer(file("plain"));
    assert.equal(await measureVerity(imageOf(root, plain)), undefined);
    await using required = await TestOverlay.open(root, { format: "erofs", verity: "require" });
    await assert.rejects(required.roots.mount("one", [plain]), (error) => {
      assert.match(String(error), /has no fs-verity, .* remove the images/);
      return isKind(error, "failed-precondition");
    });
  });
});

describe("where fs-verity is missing", () => {
  const root = join(directory, "plain");

  test("the log says so once, and layers go without it, unless it is required", async () => {
    const lines: string[] = [];
    const log = { ...silentLogger, warn: (line: string) => void lines.push(line) };
    const paths = new StateLayout(root);
    mkdirSync(join(root, "layers"), { recursive: true });
    const image = join(root, "image");
    writeFileSync(image, "image");
    const auto = await LayerVerity.open(paths, "auto", log);
    if (auto.obstacle === undefined) return; // the temporary directory has it
    assert.match(lines.join(), /^images of layers are stored without fs-verity: .*fs-verity/);
    assert.equal(await auto.seal(image), undefined);
    await auto.check(`sha256:${"0".repeat(64)}`, {});
    const require = await LayerVerity.open(paths, "require", log);
    await assert.rejects(require.seal(image), (error) => isKind(error, "failed-precondition"));
    const off = await LayerVerity.open(paths, "off", log);
    assert.equal(await off.seal(image), undefined);
    assert.equal(lines.length, 2);
  });

  test("a layer that would be a directory is refused if it is required", async () => {
    await using overlay = await TestOverlay.open(join(directory, "directories"), {
      verity: "require",
    });
    await assert.rejects(overlay.layer(file("file")), (error) => {
      assert.match(
        String(error),
        /images.layer_format is "directory"; fix that, or set it to "auto"/,
      );
      return isKind(error, "failed-precondition");
    });
  });
});
