/** Images through the socket: pull from a real registry, list, status and removal. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  busyboxLayer,
  imageOf,
  indexOf,
  type Layer,
  layerOf,
  type TestImage,
} from "../support/images.ts";
import { freePort } from "../support/registry.ts";
import {
  container,
  createIn,
  exec,
  imageless,
  imageStatus,
  inPod,
  layersThere,
  listImages,
  Node,
  pull,
  remove,
  removeAllImages,
  removeImage,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, until } from "../support/suites/pods.ts";

const base = busyboxLayer("gzip", [
  { path: "kept", body: "kept\n" },
  { path: "removed", body: "removed\n" },
  { path: "replaced", body: "old\n" },
  { path: "opaque/" },
  { path: "opaque/old", body: "old\n" },
]);
const second = layerOf([
  { path: ".wh.removed" },
  { path: "replaced", body: "new\n" },
  { path: "opaque/" },
  { path: "opaque/.wh..wh..opq" },
  { path: "opaque/new", body: "new\n" },
]);
const plain = imageOf([base], { Cmd: ["sh"], Labels: { maintainer: "davit" } });
const layered = imageOf([base, second]);

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
  await node.registry.push("t/plain", plain, ["1", "2", "latest"]);
  await node.registry.push("t/layered", layered, ["1"]);
  await node.registry.push("library/busybox", plain, ["latest"]);
  await node.registry.push("t/index", layered, []);
  await node.registry.push("t/index", plain, ["1"], indexOf(plain, layered));
});
after(() => node[Symbol.asyncDispose]());

function hexOf(layer: Layer): string {
  return layer.diffId.replace("sha256:", "");
}

const idOf = (image: TestImage): string => image.config.digest;
const digestIn = (image: TestImage): string => image.manifest.digest;

describe("PullImage", () => {
  const forms = {
    "a tag": ["registry.k8s.io/t/plain:1", "registry.k8s.io/t/plain:1"],
    "no tag, which is latest": ["registry.k8s.io/t/plain", "registry.k8s.io/t/plain:latest"],
    "a short name, which is Docker Hub's": ["busybox", "docker.io/library/busybox:latest"],
    "an index": ["images.test/t/index:1", "images.test/t/index:1"],
  } as const;
  for (const [form, [name, tag]] of Object.entries(forms)) {
    test(
      `takes ${form}, and answers with the image's id`,
      imageless(served, async () => {
        assert.equal(await pull(daemon, name), idOf(plain));
        const image = await imageStatus(daemon, name);
        assert.equal(image?.id, idOf(plain));
        assert.deepEqual(image.repoTags, [tag]);
        assert.equal(image.repoDigests.length, 1);
      }),
    );
  }

  test(
    "takes a digest: the image has that name and no tag",
    imageless(served, async () => {
      const name = `registry.k8s.io/t/plain@${digestIn(plain)}`;
      assert.equal(await pull(daemon, name), idOf(plain));
      const image = await imageStatus(daemon, name);
      assert.deepEqual(image?.repoTags, []);
      assert.deepEqual(image.repoDigests, [name]);
    }),
  );

  test(
    "reports the size of manifest, config and layers as they are in the registry",
    imageless(served, async () => {
      await pull(daemon, "registry.k8s.io/t/layered:1");
      const blobs = [layered.manifest, layered.config, base, second];
      const size = blobs.reduce((sum, { bytes }) => sum + bytes.length, 0);
      const image = await imageStatus(daemon, "registry.k8s.io/t/layered:1");
      assert.equal(Number(image?.size), size);
      assert.equal(image?.pinned, false);
    }),
  );

  test(
    "fetches a layer of two images once, and a known image not at all",
    imageless(served, async () => {
      const begin = node.registry.requests.length;
      await pull(daemon, "registry.k8s.io/t/plain:1");
      await pull(daemon, "registry.k8s.io/t/layered:1");
      await pull(daemon, "registry.k8s.io/t/layered:1");
      const since = node.registry.requests.slice(begin);
      const asked = ({ digest }: Layer): number =>
        since.filter((line) => line.startsWith("GET") && line.includes(digest)).length;
      assert.deepEqual([asked(base), asked(second)], [1, 1]);
      assert.deepEqual([...layersThere(daemon)].sort(), [hexOf(base), hexOf(second)].sort());
    }),
  );

  for (const compression of ["gzip", "zstd", "none"] as const) {
    test(
      `makes a root that runs of ${compression} layers, whiteouts and opaque directories carried out`,
      imageless(served, async () => {
        const image = compression === "gzip" ? layered : compressed(compression);
        await node.registry.push(`t/${compression}`, image, ["1"]);
        const name = `registry.k8s.io/t/${compression}:1`;
        await pull(daemon, name);
        await inPod(daemon, bare(), async (pod) => {
          const id = await runIn(pod, container({ image: { image: name } }));
          assert.equal(await sh(daemon, id, "cat /kept /replaced; ls /opaque"), "kept\nnew\nnew");
          assert.equal((await exec(daemon, id, ["cat", "/removed"])).exitCode, 1);
        });
      }),
    );
  }

  function compressed(compression: "zstd" | "none"): TestImage {
    const lower = busyboxLayer(compression, [
      { path: "kept", body: "kept\n" },
      { path: "removed", body: "removed\n" },
      { path: "opaque/" },
      { path: "opaque/old", body: "old\n" },
    ]);
    const upper = layerOf(
      [
        { path: ".wh.removed" },
        { path: "replaced", body: "new\n" },
        { path: "opaque/" },
        { path: "opaque/.wh..wh..opq" },
        { path: "opaque/new", body: "new\n" },
      ],
      compression,
    );
    return imageOf([lower, upper]);
  }

  test(
    "says so when the registry has no such image, tag or digest",
    imageless(served, async () => {
      const names = ["t/absent:1", "t/plain:absent", `t/plain@sha256:${"1".repeat(64)}`];
      for (const name of names) {
        const image = `registry.k8s.io/${name}`;
        await assert.rejects(pull(daemon, image), failsWith(code.notFound, /t\/(absent|plain)/));
        assert.equal(await imageStatus(daemon, image), undefined);
      }
      assert.deepEqual(layersThere(daemon), []);
    }),
  );

  test(
    "says RegistryUnavailable if no server answers",
    imageless(served, async () => {
      const port = await freePort();
      const image = `127.0.0.1:${port}/t/plain:1`;
      await assert.rejects(
        pull(daemon, image),
        failsWith(code.unknown, /^RegistryUnavailable: pull image/),
      );
    }),
  );

  test("refuses an invalid name", async () => {
    for (const image of ["", "lower/UPPER", "a b", "x@sha256:12"]) {
      await assert.rejects(pull(daemon, image), failsWith(code.invalidArgument));
    }
  });

  test("refuses a pull for a handler that no pod can have", async () => {
    const image = { image: "docker.io/t/plain:latest", runtimeHandler: "nowhere" };
    await assert.rejects(
      daemon.client.image.pullImage({ image }),
      failsWith(code.invalidArgument, /runtime handler "nowhere"/),
    );
  });

  test("says where a hosts.toml is wrong", async () => {
    node.registry.mirror("broken.test");
    const file = path.join(node.registry.certsDir, "broken.test", "hosts.toml");
    writeFileSync(file, 'serve = "typo"\n');
    await assert.rejects(
      pull(daemon, "broken.test/t/plain:1"),
      failsWith(code.failedPrecondition, /broken\.test\/hosts\.toml.*serve/),
    );
  });
});

describe("ImageStatus", () => {
  test(
    "finds an image by id, short id, tag, digest and name without a tag",
    imageless(served, async () => {
      await pull(daemon, "docker.io/t/plain:latest");
      const hex = idOf(plain).replace("sha256:", "");
      const names = [
        idOf(plain),
        hex,
        hex.slice(0, 12),
        `sha256:${hex.slice(0, 12)}`,
        "docker.io/t/plain:latest",
        "docker.io/t/plain",
        "t/plain",
        "t/plain:latest",
        `docker.io/t/plain@${digestIn(plain)}`,
        `docker.io/t/plain:latest@${digestIn(plain)}`,
      ];
      for (const name of names) assert.equal((await imageStatus(daemon, name))?.id, idOf(plain));
    }),
  );

  test("returns no image and no error for an image that does not exist", async () => {
    const missing = ["t/absent", `sha256:${"1".repeat(64)}`, `t/x@sha256:${"1".repeat(64)}`, "abc"];
    for (const name of missing) assert.equal(await imageStatus(daemon, name), undefined);
    await assert.rejects(imageStatus(daemon, ""), failsWith(code.invalidArgument));
  });

  test(
    "has chain id and config of the image only in its verbose answer",
    imageless(served, async () => {
      await pull(daemon, "registry.k8s.io/t/plain:1");
      const image = { image: "registry.k8s.io/t/plain:1" };
      assert.deepEqual((await daemon.client.image.imageStatus({ image })).info, {});
      const { info } = await daemon.client.image.imageStatus({ image, verbose: true });
      const parsed = JSON.parse(info["info"] ?? "") as {
        chainID: string;
        imageSpec: { config: object };
      };
      assert.equal(parsed.chainID, base.diffId);
      assert.deepEqual(parsed.imageSpec.config, { Cmd: ["sh"], Labels: { maintainer: "davit" } });
    }),
  );

  const users = {
    "": { uid: 0n, username: "" },
    "1002": { uid: 1002n, username: "" },
    app: { uid: undefined, username: "app" },
    "1003:users": { uid: 1003n, username: "" },
    "app:extra": { uid: undefined, username: "app" },
  } as const;
  for (const [user, want] of Object.entries(users)) {
    test(
      `shows the user of USER "${user}"`,
      imageless(served, async () => {
        const repository = `t/user-${user.replace(":", "-") || "none"}`;
        await node.registry.push(repository, imageOf([base], { User: user }), ["1"]);
        await pull(daemon, `registry.k8s.io/${repository}:1`);
        const image = await imageStatus(daemon, `registry.k8s.io/${repository}:1`);
        assert.equal(image?.uid?.value, want.uid);
        assert.equal(image?.username, want.username);
      }),
    );
  }
});

describe("ListImages and StreamImages", () => {
  test(
    "return every image once with all tags, and with a filter only the image that it names",
    imageless(served, async () => {
      const names = ["t/plain:1", "t/plain:2", "t/layered:1"].map((n) => `registry.k8s.io/${n}`);
      for (const name of names) await pull(daemon, name);
      const images = await listImages(daemon);
      assert.deepEqual(images.map(({ id }) => id).sort(), [idOf(plain), idOf(layered)].sort());
      const tags = images.find(({ id }) => id === idOf(plain))?.repoTags;
      assert.deepEqual(tags, ["registry.k8s.io/t/plain:1", "registry.k8s.io/t/plain:2"]);
      const filtered = async (image: string): Promise<readonly string[]> => {
        const filter = { image: { image } };
        const listed = await daemon.client.image.listImages({ filter });
        assert.deepEqual(await streamed({ filter }), listed.images);
        return listed.images.map(({ id }) => id);
      };
      assert.deepEqual(await filtered("registry.k8s.io/t/layered:1"), [idOf(layered)]);
      assert.deepEqual(await filtered(idOf(plain)), [idOf(plain)]);
      assert.deepEqual(await filtered("registry.k8s.io/t/absent"), []);
      assert.deepEqual(await streamed({}), images);
      await removeAllImages(daemon);
      assert.deepEqual(await streamed({}), []);
    }),
  );

  async function streamed(
    request: Parameters<TestDaemon["client"]["image"]["streamImages"]>[0],
  ): Promise<unknown[]> {
    const found: unknown[] = [];
    for await (const { images } of daemon.client.image.streamImages(request)) found.push(...images);
    return found;
  }
});

describe("RemoveImage", () => {
  test(
    "removes all names of the image at once, and its layers; a second call is not an error",
    imageless(served, async () => {
      await pull(daemon, "registry.k8s.io/t/plain:1");
      await pull(daemon, "images.test/t/plain:2");
      await removeImage(daemon, "images.test/t/plain:2");
      for (const name of ["registry.k8s.io/t/plain:1", "images.test/t/plain:2", idOf(plain)]) {
        assert.equal(await imageStatus(daemon, name), undefined);
        await removeImage(daemon, name);
      }
      assert.deepEqual(await listImages(daemon), []);
      await until("no layer is left", () => layersThere(daemon).length === 0);
    }),
  );

  test(
    "accepts the prefix of an id with its algorithm",
    imageless(served, async () => {
      await pull(daemon, "registry.k8s.io/t/plain:1");
      await removeImage(daemon, idOf(plain).slice(0, "sha256:".length + 12));
      assert.deepEqual(await listImages(daemon), []);
    }),
  );

  test(
    "leaves what another image needs",
    imageless(served, async () => {
      await pull(daemon, "registry.k8s.io/t/plain:1");
      await pull(daemon, "registry.k8s.io/t/layered:1");
      await removeImage(daemon, "registry.k8s.io/t/layered:1");
      await until("the second layer is gone", () => layersThere(daemon).length === 1);
      assert.deepEqual(layersThere(daemon), [hexOf(base)]);
    }),
  );

  test(
    "of an image in use keeps its container running; the layers are removed with the container",
    imageless(served, async () => {
      await pull(daemon, "registry.k8s.io/t/layered:1");
      await inPod(daemon, bare(), async (pod) => {
        const image = { image: "registry.k8s.io/t/layered:1" };
        const id = await runIn(pod, container({ image }));
        const created = await createIn(pod, container({ image }));
        await removeImage(daemon, idOf(layered));
        assert.deepEqual(await listImages(daemon), []);
        assert.equal(await sh(daemon, id, "cat /replaced"), "new");
        await assert.rejects(
          createIn(pod, container({ image })),
          failsWith(code.notFound, /pull it first/),
        );
        await remove(daemon, id);
        assert.equal(layersThere(daemon).length, 2);
        await daemon.client.runtime.startContainer({ containerId: created });
        assert.equal(await sh(daemon, created, "cat /replaced"), "new");
        await remove(daemon, created);
        await until("no layer is left", () => layersThere(daemon).length === 0);
      });
    }),
  );
});

test(
  "ImageFsInfo grows with a pull and shrinks with a removal",
  imageless(served, async () => {
    const used = async (): Promise<readonly [number, number]> => {
      const { imageFilesystems } = await daemon.client.image.imageFsInfo({});
      const [usage, ...more] = imageFilesystems;
      assert.deepEqual(more, []);
      assert.equal(usage?.fsId?.mountpoint, daemon.paths.root);
      assert.ok(usage.timestamp > 1_700_000_000_000_000_000n);
      return [Number(usage.usedBytes?.value), Number(usage.inodesUsed?.value)];
    };
    assert.deepEqual(await used(), [0, 0]);
    await pull(daemon, "registry.k8s.io/t/plain:1");
    const [bytes, inodes] = await used();
    assert.ok(bytes > 2_000_000 && bytes < 4_000_000, `${bytes} bytes`);
    assert.ok(inodes > 200 && inodes < 500, `${inodes} inodes`);
    await removeAllImages(daemon);
    assert.deepEqual(await used(), [0, 0]);
  }),
);
