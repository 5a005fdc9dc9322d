/** A registry that sends almost nothing delays its own pulls only, and no pull from another registry. */
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

/** Sends the rest of all blobs that are held back. */
function releaseAll(): void {
  for (const release of holds.splice(0)) release();
}

/** The body of a test. The slow pulls finish after it. */
function besideSlowPulls(run: () => Promise<void>): ReturnType<typeof imageless> {
  return imageless(daemon, async () => {
    try {
      await run();
    } finally {
      releaseAll();
      await Promise.allSettled(slowPulls.splice(0));
    }
  });
}

function bigLayer(): Layer {
  return layerOf([{ path: `big-${count++}`, body: randomBytes(layerBytes) }], "none");
}

/** Starts to pull an image of these layers, and waits until all of its blobs are held back. */
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

/** Pulls from the fast registry. Only a pull that waits for the slow one misses its deadline. */
async function pullFast(layers: readonly Layer[]): Promise<void> {
  await node.registry.push("t/fast", imageOf(layers), ["1"]);
  const call = { timeoutMs: patient(60_000) };
  await daemon().client.image.pullImage({ image: { image: name } }, call);
}

describe("a registry that never finishes a blob", () => {
  test(
    "delays no pull from another registry, and none of its pulls is lost",
    besideSlowPulls(async () => {
      const layers = [bigLayer(), bigLayer(), bigLayer()];
      const { image, ended } = await pullSlowly(layers, "slow.test");
      await pullFast([busyboxLayer(), bigLayer()]);
      assert.equal(await imageStatus(daemon(), image), undefined, "the pull is not finished yet");
      releaseAll();
      await ended;
      assert.notEqual(await imageStatus(daemon(), image), undefined);
    }),
  );

  test(
    "delays no other pull under ten names, and its cancelled pulls leave nothing",
    besideSlowPulls(async () => {
      const caller = new AbortController();
      for (let at = 0; at < 10; at++) {
        await pullSlowly([bigLayer()], `slow-${at}.test`, caller.signal);
      }
      await pullFast([busyboxLayer(), bigLayer()]);
      caller.abort();
      for (const ended of slowPulls) await assert.rejects(ended, failsWith(code.canceled));
      await until("no incomplete layer is left", () =>
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
      releaseAll();
      await ended;
    }),
  );
});
