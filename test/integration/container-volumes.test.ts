/** Volumes from images: image mounts, and volumes that the image of the container declares. */
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { artifactOf, busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import {
  busybox,
  type ContainerInit,
  container,
  containerStatus,
  createIn,
  exec,
  exited,
  inPod,
  layersThere,
  listImages,
  Node,
  type Pod,
  pull,
  remove,
  removeImage,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, until } from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;
const directory = mkdtempSync(path.join(tmpdir(), "davit-volumes-"));

const model = "registry.k8s.io/e2e/model:1";
const artifact = "registry.k8s.io/e2e/artifact:1";
const declaring = "registry.k8s.io/e2e/declaring:1";

const lower = layerOf([
  { path: "weights/", mode: 0o755 },
  { path: "weights/old", body: "old" },
  { path: "weights/tool", body: "#!/bin/sh\necho ran\n", mode: 0o755 },
  { path: "out", link: "/" },
  { path: "up", link: "../../../weights" },
  { path: "file", body: "file" },
]);
const upper = layerOf([
  { path: "weights/", mode: 0o755 },
  { path: "weights/new", body: "new" },
]);

const modelType = "application/vnd.test.model.v1";
const files = artifactOf(modelType, {
  "weights.bin": "w".repeat(200_000),
  "tokenizer/config.json": "{}",
  "tokenizer/vocabulary": "a\nb\n",
});

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  await node.registry.push("e2e/model", imageOf([lower, upper]), ["1"]);
  await node.registry.push("e2e/single", imageOf([lower]), ["1"]);
  await node.registry.push("e2e/artifact", files, ["1"]);
  const data = layerOf([
    { path: "data/", mode: 0o750, uid: 1000, gid: 2000 },
    { path: "data/file", body: "from the image", uid: 1000, gid: 1000, mode: 0o600 },
    { path: "other/file", body: "behind a link" },
    { path: "link", link: "/other" },
  ]);
  const Volumes = { "/data": {}, "/link/": {}, "/new/directory": {}, "/taken": {} };
  const image = imageOf([busyboxLayer(), data], { Env: ["PATH=/bin"], Volumes });
  await node.registry.push("e2e/declaring", image, ["1"]);
  await pull(daemon, model);
  await pull(daemon, declaring);
  // It has the most layers, each with a connection to the registry that stays open for a while.
  await pull(daemon, artifact);
  await removeImage(daemon, artifact);
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const imageMount = (containerPath: string, more: object = {}) => ({
  containerPath,
  image: { image: model },
  readonly: true,
  ...more,
});

function inRunning(config: () => ContainerInit, look: (id: string, pod: Pod) => Promise<void>) {
  return leakless(served, () =>
    inPod(daemon, bare(), async (pod) => {
      await look(await runIn(pod, config()), pod);
    }),
  );
}

describe("an image volume", () => {
  test(
    "shows the image, whole or in part, to read and run but not to write",
    inRunning(
      () =>
        container({
          mounts: [
            imageMount("/model"),
            imageMount("/part", { imageSubPath: "weights" }),
            imageMount("/linked", { imageSubPath: "up" }),
            { hostPath: directory, containerPath: "/host" },
          ],
        }),
      async (id) => {
        assert.equal(await sh(daemon, id, "cat /model/weights/old /model/weights/new"), "oldnew");
        for (const at of ["/part", "/linked"]) {
          assert.equal(await sh(daemon, id, `ls ${at}`), "new\nold\ntool");
        }
        assert.equal(await sh(daemon, id, "/part/tool"), "ran");
        for (const at of ["/model", "/part"]) {
          const said = await exec(daemon, id, ["touch", `${at}/made`]);
          assert.match(said.stderr, /Read-only file system/);
        }
        const remount = await exec(daemon, id, ["mount", "-o", "remount,rw", "/model"]);
        assert.notEqual(remount.exitCode, 0);
      },
    ),
  );

  test(
    "is in the status, with its image",
    inRunning(
      () => container({ mounts: [imageMount("/model"), imageMount("/b", { imageSubPath: "up" })] }),
      async (id) => {
        const pulled = await pull(daemon, model);
        const { mounts } = await containerStatus(daemon, id);
        assert.deepEqual(
          mounts.map((mount) => [mount.containerPath, mount.image?.image, mount.image?.imageRef]),
          ["/model", "/b"].map((at) => [at, model, pulled]),
        );
        assert.equal(mounts[1]?.imageSubPath, "up");
        // So that kubelet's image collection, which does not know image volumes, skips it.
        assert.equal((await listImages(daemon)).find((image) => image.id === pulled)?.pinned, true);
      },
    ),
  );

  test(
    "keeps its layers after the image is removed, until its container is removed",
    leakless(served, async () => {
      await pull(daemon, "registry.k8s.io/e2e/single:1");
      await inPod(daemon, bare(), async (pod) => {
        const single = { image: "registry.k8s.io/e2e/single:1" };
        const id = await runIn(pod, container({ mounts: [imageMount("/m", { image: single })] }));
        await removeImage(daemon, single.image);
        await removeImage(daemon, model);
        assert.equal(await sh(daemon, id, "cat /m/file"), "file");
        const hex = (layer: { readonly diffId: string }): string => layer.diffId.slice(7);
        assert.ok(layersThere(daemon).includes(hex(lower)), "its layer is there");
        await until("the other layer is gone", () => !layersThere(daemon).includes(hex(upper)));
        await remove(daemon, id);
        await until("its layer is gone", () => !layersThere(daemon).includes(hex(lower)));
      });
      await pull(daemon, model);
    }),
  );

  test(
    "of an artifact has its files, whole or in part, to read only",
    leakless(served, async () => {
      const id = await pull(daemon, artifact);
      assert.equal(id, files.manifest.digest);
      const listed = (await listImages(daemon)).find((image) => image.id === id);
      assert.deepEqual(listed?.repoTags, [artifact]);
      assert.deepEqual(listed.spec?.annotations, { "davit.artifact.type": modelType });
      await inPod(daemon, bare(), async (pod) => {
        const image = { image: artifact };
        const mounts = [
          imageMount("/model", { image }),
          imageMount("/part", { image, imageSubPath: "tokenizer" }),
        ];
        const running = await runIn(pod, container({ mounts }));
        assert.equal(
          await sh(daemon, running, "cd /model && find . -type f | sort && wc -c < weights.bin"),
          "./tokenizer/config.json\n./tokenizer/vocabulary\n./weights.bin\n200000",
        );
        assert.equal(await sh(daemon, running, "cat /part/vocabulary"), "a\nb");
        const said = await exec(daemon, running, ["touch", "/model/made"]);
        assert.match(said.stderr, /Read-only file system/);
        await assert.rejects(
          createIn(pod, { ...container(), image }),
          failsWith(code.failedPrecondition, /is an OCI artifact of type .*mount it as an image/),
        );
        await remove(daemon, running);
      });
      const known = layersThere(daemon).length;
      await removeImage(daemon, artifact);
      await until("its files are gone", () => layersThere(daemon).length === known - 3);
    }),
  );

  for (const [what, mount, status, why] of [
    [
      "that is not here",
      { image: { image: "e2e/absent:1" } },
      code.notFound,
      /e2e\/absent:1.*pull/,
    ],
    ["to write", { readonly: false }, code.invalidArgument, /must be readonly/],
    ["with a host path", { hostPath: "/tmp" }, code.invalidArgument, /host_path/],
    [
      "whose sub path is missing",
      { imageSubPath: "weights/none" },
      code.invalidArgument,
      /ImageVolumeMountFailed: .*"weights\/none" does not exist/,
    ],
    [
      "whose sub path is a file",
      { imageSubPath: "file" },
      code.invalidArgument,
      /ImageVolumeMountFailed: .*is not a directory/,
    ],
    [
      "whose sub path would lead out",
      { imageSubPath: "out/etc" },
      code.invalidArgument,
      /ImageVolumeMountFailed: .*does not exist/,
    ],
    ["above itself", { imageSubPath: "a/../../b" }, code.invalidArgument, /must stay in its image/],
  ] as const) {
    test(
      `${what} is refused, and nothing stays`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const config = container({ mounts: [imageMount("/m", mount)] });
          await assert.rejects(createIn(pod, config), failsWith(status, why));
        }),
      ),
    );
  }
});

describe("a volume that the image declares", () => {
  const image = { image: declaring };

  test(
    "starts with the content of the image, is writable, and is removed with its container",
    inRunning(
      () => {
        mkdirSync(path.join(directory, "taken"), { recursive: true });
        const mounts = [{ hostPath: path.join(directory, "taken"), containerPath: "/taken" }];
        const securityContext = { readonlyRootfs: true };
        return container({ image, mounts, linux: { securityContext } });
      },
      async (id, pod) => {
        const facts = "stat -c '%a %u %g' /data /data/file && cat /data/file";
        assert.equal(await sh(daemon, id, facts), "750 1000 2000\n600 1000 1000\nfrom the image");
        assert.equal(await sh(daemon, id, "stat -c '%a %u %g' /new/directory"), "755 0 0");
        assert.equal(await sh(daemon, id, "cat /link/file"), "behind a link");
        await sh(daemon, id, "echo own > /data/file; touch /new/directory/a /taken/b");
        assert.deepEqual(readdirSync(path.join(directory, "taken")), ["b"]);
        const said = await exec(daemon, id, ["touch", "/made"]);
        assert.match(said.stderr, /Read-only file system/);
        const other = await runIn(pod, container({ image }));
        assert.equal(await sh(daemon, other, "cat /data/file"), "from the image");
        const volumes = path.join(daemon.paths.root, "roots", id, "volumes");
        assert.equal(readFileSync(path.join(volumes, "0/file"), "utf8"), "own\n");
        await remove(daemon, id);
      },
    ),
  );

  test(
    "belongs to the user of the container if the image says so",
    inRunning(
      () => container({ image, linux: { securityContext: { runAsUser: { value: 1000n } } } }),
      async (id) => {
        assert.equal(await sh(daemon, id, "echo more >> /data/file; id -u"), "1000");
      },
    ),
  );

  test("is not created with images.volumes = ignore", async () => {
    await using own = await Node.start({ images: { volumes: "ignore" } });
    const run = { Env: ["PATH=/bin"], Volumes: { "/data": {} } };
    await own.registry.push("e2e/busybox", imageOf([busyboxLayer()], run), ["1"]);
    await pull(own.daemon, busybox);
    await inPod(own.daemon, bare(), async (pod) => {
      const id = await runIn(pod, container({ command: ["/bin/sh", "-c", "! test -e /data"] }));
      assert.equal((await exited(own.daemon, id)).exitCode, 0);
    });
  });
});
