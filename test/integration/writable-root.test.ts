/** Disks: writable layers on a file system of their own, here a small tmpfs, and the removal of unused images. */
import assert from "node:assert/strict";
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  busybox,
  exec,
  inPod,
  Node,
  pull,
  remove,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import { imageOf, layerOf } from "../support/images.ts";
import { bare, leakless, until } from "../support/suites/pods.ts";

const directory = mkdtempSync(path.join(tmpdir(), "davit-writable-"));
const roots = path.join(directory, "roots");
let node: Node;
let daemon: TestDaemon;

before(async () => {
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=8m", "davit-test-writable", directory]);
  node = await Node.startWithBusybox({
    config: { writable_root: directory },
    images: { gc_unused_images_seconds: 86_400, gc_high_percent: 99 },
  });
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  // The mount namespace of a container that has just ended can still hold it.
  await until("it can be unmounted", () => spawnSync("umount", [directory]).status === 0);
  rmSync(directory, { recursive: true });
});

async function fileSystems() {
  const answer = await daemon.client.image.imageFsInfo({});
  const [images] = answer.imageFilesystems;
  const [containers] = answer.containerFilesystems;
  assert.ok(images !== undefined && containers !== undefined);
  return { images, containers };
}

test("ImageFsInfo and stats name both file systems, also after a restart", () =>
  inPod(daemon, bare(), async (pod) => {
    const id = await runIn(pod);
    const empty = await fileSystems();
    assert.equal(empty.images.fsId?.mountpoint, daemon.paths.root);
    assert.equal(empty.containers.fsId?.mountpoint, directory);
    await sh(daemon, id, "head -c 2097152 /dev/zero >/block");
    await daemon.restart();
    const full = await fileSystems();
    const grown =
      Number(full.containers.usedBytes?.value) - Number(empty.containers.usedBytes?.value);
    assert.ok(grown >= 2 << 20 && grown < 4 << 20, `${grown} bytes`);
    assert.equal(full.images.usedBytes?.value, empty.images.usedBytes?.value);
    assert.ok(Number(full.containers.inodesUsed?.value) > 5);
    await until("stats name the file system of the writable layer", async () => {
      const { stats } = await daemon.client.runtime.containerStats({ containerId: id });
      return stats?.writableLayer?.fsId?.mountpoint === directory;
    });
    assert.ok(existsSync(path.join(roots, id, "upper/block")));
    // Its connection to the registry stays open for a while, which is not a leak of the next test.
    await pull(daemon, busybox);
    await remove(daemon, id);
    await until("the writable layer is deleted", () => readdirSync(roots).length === 0);
  }));

test(
  "containers that fill their file system stop no pull",
  leakless(
    () => daemon,
    () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod);
        const filled = await exec(daemon, id, ["dd", "if=/dev/zero", "of=/big", "bs=1M"]);
        assert.match(filled.stderr, /No space left on device/);
        const image = "registry.k8s.io/e2e/data:1";
        await node.registry.push("e2e/data", imageOf([layerOf([{ path: "data", body: "data" }])]), [
          "1",
        ]);
        await pull(daemon, image);
        await daemon.client.image.removeImage({ image: { image } });
        await remove(daemon, id);
      }),
  ),
);

test("the removal of unused images is on, and the last uses survive the daemon", async () => {
  const { info } = await daemon.client.runtime.status({ verbose: true });
  const { removed, ...settings } = JSON.parse(info["imageGc"] ?? "") as Record<string, unknown>;
  assert.deepEqual(settings, { unusedMs: 86_400_000, high: 99, low: 80, unusedImages: 0 });
  assert.ok(Array.isArray(removed) && removed.length === 4);
  await daemon.client.image.imageStatus({ image: { image: busybox } });
  await daemon.stop();
  const file = path.join(daemon.paths.root, "image-uses.json");
  const { uses } = JSON.parse(readFileSync(file, "utf8")) as { uses: Record<string, number> };
  assert.ok(Object.values(uses).every((time) => time > 1_700_000_000_000));
  assert.equal(Object.keys(uses).length, 1);
  await daemon.restart();
});
