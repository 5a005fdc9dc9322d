/** Pods whose images are stored as EROFS images (images.layer_format): their life, restarts, removal. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { listMounts } from "../../src/linux/mount/index.ts";
import {
  container,
  exec,
  inPod,
  layersThere,
  Node,
  pull,
  removeAllImages,
  removeImage,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import { erofsObstacle } from "../../src/drivers/overlay/testing/layers.ts";
import { oddLayer, pushed } from "../support/suites/odd-layers.ts";
import { bare, launchDaemon, mapped, openDirectories, until } from "../support/suites/pods.ts";

let node: Node;
before(async () => {
  node = await Node.start({ images: { layer_format: "erofs" } });
  openDirectories(node.daemon);
});
after(() => node[Symbol.asyncDispose]());
const served = (): Node["daemon"] => node.daemon;

const upper = oddLayer(
  { name: "data", type: "5", uid: 7 },
  { name: "data/file", data: "from the image", uid: 7, gid: 8 },
  { name: ".wh.tmp", data: "" },
);

/** The mounted layers. */
async function mounted(): Promise<number> {
  const { root } = served().paths;
  const mounts = await listMounts();
  return mounts.filter(
    ({ mountPoint, fsType }) => fsType === "erofs" && mountPoint.startsWith(root),
  ).length;
}

describe("a pod on EROFS images", { skip: await erofsObstacle() }, () => {
  test("has images as layers, which are mounted while containers exist", async () => {
    const image = await pushed(node, upper);
    await pull(served(), image);
    const hex = layersThere(served())[0] ?? "";
    assert.deepEqual(readdirSync(path.join(served().paths.root, "layers", hex, "image")), [
      "layer.erofs",
    ]);
    const { info } = await served().client.runtime.status({ verbose: true });
    assert.equal(info["layerFormat"], "erofs");
    assert.equal(await mounted(), 0);
    await inPod(served(), bare(), async (pod) => {
      const id = await runIn(pod, container({ image: { image } }));
      assert.equal(await mounted(), 2);
      assert.equal(
        await sh(served(), id, "cat /data/file; stat -c ' %u %g' /data/file"),
        "from the image 7 8",
      );
      assert.notEqual((await exec(served(), id, ["ls", "/tmp"])).exitCode, 0);
      assert.equal(await sh(served(), id, "echo new > /data/file; cat /data/file"), "new");
    });
    assert.equal(await mounted(), 0);
    await removeAllImages(served());
  });

  test("in a user namespace", async () => {
    const image = await pushed(node, upper);
    await pull(served(), image);
    await inPod(served(), mapped(), async (pod) => {
      const id = await runIn(pod, container({ image: { image } }));
      assert.equal(await sh(served(), id, "stat -c '%u %g' /data/file /bin"), "7 8\n0 0");
    });
    assert.equal(await mounted(), 0);
    await removeAllImages(served());
  });

  test("runs on after kill -9 of the daemon and the removal of its image", async () => {
    const image = await pushed(node, upper);
    await pull(served(), image);
    await inPod(served(), bare(), async (pod) => {
      const id = await runIn(pod, container({ image: { image } }));
      await served().kill9();
      await launchDaemon(served());
      assert.equal(await mounted(), 2);
      assert.equal(await sh(served(), id, "cat /data/file"), "from the image");
      const other = await runIn(pod, container({ image: { image } }));
      await removeImage(served(), image);
      // Containers keep the layers of a removed image.
      assert.equal(await mounted(), 2);
      assert.equal(
        await sh(served(), other, "cat /data/file; ls /bin/sh"),
        "from the image/bin/sh",
      );
    });
    assert.equal(await mounted(), 0);
    await until("the layers are removed", () => layersThere(served()).length === 0);
  });
});
