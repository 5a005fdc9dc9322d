/** Images that would fill the disk, pulled at the same time, and images that exceed the limits. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, statfsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { imageless, layersThere, Node, pull, removeImage } from "../support/suites/containers.ts";
import { code, failsWith, launchDaemon, until } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type Layer, layerOf } from "../support/images.ts";

const mib = 1 << 20;

let node: Node;
const daemon = (): TestDaemon => node.daemon;
after(() => node[Symbol.asyncDispose]());

/** A layer of zeros, which zstd makes very small. */
function zeros(name: string, bytes: number): Layer {
  return layerOf([{ path: name, body: Buffer.alloc(bytes) }], "zstd");
}

function manyFiles(prefix: string, count: number): Layer {
  return layerOf(Array.from({ length: count }, (_, at) => ({ path: `${prefix}-${at}` })));
}

async function nameOf(repository: string, layers: readonly Layer[]): Promise<string> {
  await node.registry.push(`t/${repository}`, imageOf(layers), ["1"]);
  return `registry.k8s.io/t/${repository}:1`;
}

/** Nothing of a layer is here, half ones included. */
async function untilNothingIsLeft(): Promise<void> {
  await until("no layer is left", () => layersThere(daemon()).length === 0);
}

describe("on a small disk", () => {
  before(async () => {
    node = await Node.start();
    await daemon().stop();
    const { root } = daemon().paths;
    mkdirSync(root, { recursive: true });
    const options = "size=64m,nr_inodes=4000,mode=711";
    execFileSync("mount", ["-t", "tmpfs", "-o", options, "davit-test-images", root]);
    await launchDaemon(daemon());
  });

  /** Pulls at once, all of which must fail, and looks at what is free meanwhile. */
  async function pullBombs(names: readonly string[], message: RegExp): Promise<void> {
    const { root } = daemon().paths;
    const { blocks, files } = statfsSync(root);
    const pulls = names.map((name) =>
      assert.rejects(pull(daemon(), name), failsWith(code.resourceExhausted, message)),
    );
    const over = new AbortController();
    const ended = Promise.all(pulls).finally(() => over.abort());
    while (!over.signal.aborted) {
      const { bavail, ffree } = statfsSync(root);
      assert.ok(bavail >= blocks / 20, `${bavail} of ${blocks} blocks are free`);
      assert.ok(ffree >= files / 20, `${ffree} of ${files} inodes are free`);
      await sleep(1);
    }
    await ended;
  }

  test(
    "two bombs at the same time keep a part of the bytes free, and leave nothing",
    imageless(daemon, async () => {
      const names = [
        await nameOf("bomb-a", [zeros("a", 80 * mib)]),
        await nameOf("bomb-b", [zeros("b", 80 * mib)]),
      ];
      await pullBombs(
        names,
        /layer "sha256:.*file system of ".*\/root" has \d+ MiB free, of which 3 MiB must stay free/,
      );
      await untilNothingIsLeft();
      await pull(daemon(), await nameOf("ordinary", [busyboxLayer()]));
    }),
  );

  test(
    "two images of many files leave a part of its inodes free, and say that inodes are missing",
    imageless(daemon, async () => {
      const names = [
        await nameOf("files-a", [manyFiles("a", 6000)]),
        await nameOf("files-b", [manyFiles("b", 6000)]),
      ];
      await pullBombs(names, /\d+ inodes free, of which 200 must stay free: it is out of inodes/);
      await untilNothingIsLeft();
    }),
  );
});

describe("with limits of its own", () => {
  before(async () => {
    const images = { max_unpacked_bytes: 4 * mib, max_layers: 3, max_layer_entries: 1000 };
    daemon().changeConfig({ images: { registry_config_path: node.registry.certsDir, ...images } });
    await daemon().stop();
    await launchDaemon(daemon());
  });

  const refusals = {
    "a layer of more bytes": [
      [zeros("large", 5 * mib)],
      /layer "sha256:.*more than the image's images\.max_unpacked_bytes = 4194304 bytes/,
    ],
    "layers of more bytes together": [
      [zeros("half", 3 * mib), zeros("other half", 3 * mib)],
      /"registry\.k8s\.io\/t\/.*images\.max_unpacked_bytes = 4194304/,
    ],
    "a layer of more entries": [
      [manyFiles("file", 1001)],
      /layer "sha256:.*more than images\.max_layer_entries = 1000 entries/,
    ],
    "more layers": [
      ["a", "b", "c", "d"].map((name) => zeros(name, 10)),
      /"registry\.k8s\.io\/t\/.*: it has 4 layers, more than images\.max_layers = 3/,
    ],
  } as const satisfies Record<string, readonly [readonly Layer[], RegExp]>;
  for (const [at, [what, [layers, message]]] of Object.entries(refusals).entries()) {
    test(
      `${what} are refused, with the setting's name`,
      imageless(daemon, async () => {
        const name = await nameOf(`refused-${at}`, layers);
        await assert.rejects(pull(daemon(), name), failsWith(code.failedPrecondition, message));
      }),
    );
  }

  test(
    "an image at the limit is accepted, and a repeated layer counts once",
    imageless(daemon, async () => {
      const layer = zeros("file", 3 * mib);
      const name = await nameOf("taken", [layer, layer, layer, layer, zeros("b", 1)]);
      await pull(daemon(), name);
      await removeImage(daemon(), name);
    }),
  );

  test(
    "no layer of an image with too many is fetched",
    imageless(daemon, async () => {
      const layers = ["a", "b", "c", "e"].map((name) => zeros(name, 11));
      await assert.rejects(pull(daemon(), await nameOf("many", layers)));
      for (const { digest } of layers) {
        assert.equal(node.registry.count(new RegExp(`^GET .*/blobs/${digest}`)), 0);
      }
    }),
  );
});
