/** A registry that hardly sends anything, beside one that does: only its own pulls wait for it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { imageless, imageStatus, layersThere, Node } from "../support/suites/containers.ts";
import { code, failsWith, until } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type Layer, layerOf } from "../support/images.ts";
import { patient } from "../support/patience.ts";
import { TestRegistry } from "../support/registry.ts";

const name = "registry.k8s.io/t/fast:1";
/** More than any buffer between registry and unpacker takes. */
const layerBytes = 4 << 20;

let node: Node;
let slow: TestRegistry;
const holds: (() => void)[] = [];
const slowPulls: Promise<unknown>[] = [];
let count = 0;
const daemon = (): TestDaemon => node.daemon;

before(async () => {
  node = await Node.start();
  slow = await TestRegistry.start();
});
after(async () => {
  await node[Symbol.asyncDispose]();
  await slow[Symbol.asyncDispose]();
});

/** Lets all blobs that are held back come to their end. */
function letGo(): void {
  for (const release of holds.splice(0)) release();
}

/** The body of a test: at its end the slow pulls come to theirs. */
function besideSlowPulls(run: () => Promise<void>): ReturnType<typeof imageless> {
  return imageless(daemon, async () => {
    try {
      await run();
    } finally {
      letGo();
      await Promise.allSettled(slowPulls.splice(0));
    }
  });
}

function bigLayer(): Layer {
  return layerOf([{ path: `big-${count++}`, body: randomBytes(layerBytes) }], "none");
}

/** Begins to pull an image of these layers whose blobs do not come to their end, and waits for that. */
async function pullSlowly(
  layers: readonly Layer[],
  registry: string,
  signal = new AbortController().signal,
): Promise<{ readonly image: string; readonly ended: Promise<unknown> }> {
  node.registry.mirror(registry, `http://${slow.address}`);
  const repository = `t/slow-${count++}`;
  await slow.push(repository, imageOf(layers), ["1"]);
  const earlier = slow.requests.length;
  holds.push(slow.hold(/^GET .*\/blobs\//, 1 << 20));
  const image = `${registry}/${repository}:1`;
  const ended = daemon().client.image.pullImage({ image: { image } }, { signal });
  slowPulls.push(ended);
  ended.catch(() => undefined);
  const asked = (): readonly string[] => slow.requests.slice(earlier);
  await until("all layers are asked for", () =>
    layers.every(({ digest }) => asked().some((line) => line.includes(digest))),
  );
  return { image, ended };
}

/** Pulls from the registry that answers, with a deadline that only a pull that waits can miss. */
async function pullFast(layers: readonly Layer[]): Promise<void> {
  await node.registry.push("t/fast", imageOf(layers), ["1"]);
  const call = { timeoutMs: patient(60_000) };
  await daemon().client.image.pullImage({ image: { image: name } }, call);
}

describe("a registry whose blobs do not come to their end", () => {
  test(
    "delays no pull from another registry, and none of its pulls is lost",
    besideSlowPulls(async () => {
      const layers = [bigLayer(), bigLayer(), bigLayer()];
      const { image, ended } = await pullSlowly(layers, "slow.test");
      await pullFast([busyboxLayer(), bigLayer()]);
      assert.equal(await imageStatus(daemon(), image), undefined, "it is still on its way");
      letGo();
      await ended;
      assert.notEqual(await imageStatus(daemon(), image), undefined);
    }),
  );

  test(
    "by many names of it neither, and when it is given up nothing is left",
    besideSlowPulls(async () => {
      const caller = new AbortController();
      for (let at = 0; at < 10; at++) {
        await pullSlowly([bigLayer()], `slow-${at}.test`, caller.signal);
      }
      await pullFast([busyboxLayer(), bigLayer()]);
      caller.abort();
      for (const ended of slowPulls) await assert.rejects(ended, failsWith(code.canceled));
      await until("no half layer is left", () =>
        layersThere(daemon()).every((layer) => !layer.startsWith(".")),
      );
    }),
  );

  test(
    "delays no pull of an image that has one of its layers",
    besideSlowPulls(async () => {
      const shared = bigLayer();
      const { ended } = await pullSlowly([shared], "slow.test");
      await pullFast([shared]);
      letGo();
      await ended;
    }),
  );
});
