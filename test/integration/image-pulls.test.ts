/** Unusual pulls: concurrent, cancelled, interrupted by a crash, or with wrong data from the registry. */
import assert from "node:assert/strict";
import { existsSync, readdirSync } from "node:fs";
import path from "node:path";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type Layer, layerOf } from "../support/images.ts";
import {
  closePod,
  container,
  createIn,
  imageless,
  imageStatus,
  layersThere,
  listImages,
  Node,
  openPod,
  pull,
  removeAllImages,
  sh,
  start,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, launchDaemon, until } from "../support/suites/pods.ts";

const base = busyboxLayer();
// Its bytes do not compress, so half of it exceeds all buffers on the way.
const big = layerOf([{ path: "big", body: randomBytes(4 << 20) }], "none");
const image = imageOf([base, big], { Cmd: ["sh"] });
const name = "registry.k8s.io/t/big:1";

let node: Node;
let daemon: TestDaemon;
let release: () => void = () => undefined;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.start();
  daemon = node.daemon;
  await node.registry.push("t/big", image, ["1", "same"]);
});
afterEach(() => {
  release();
});
after(() => node[Symbol.asyncDispose]());

const getOf = ({ digest }: Layer): RegExp => new RegExp(`^GET .*/blobs/${digest}`);

/** Stops the transfer of the big layer in its middle. */
function holdBig(): void {
  release = node.registry.hold(getOf(big), 2 << 20);
}

/** Resolves when the daemon has asked for the big layer once more than it had. */
async function untilAsked(earlier: number): Promise<void> {
  await until("the big layer is asked for", () => node.registry.count(getOf(big)) > earlier);
}

/** The names of what is half made. */
function halfMade(): readonly string[] {
  return layersThere(daemon).filter((layer) => layer.startsWith("."));
}

describe("concurrent pulls of one image", () => {
  test(
    "runs once for all clients",
    imageless(served, async () => {
      const [bases, bigs] = [node.registry.count(getOf(base)), node.registry.count(getOf(big))];
      holdBig();
      const pulls = Array.from({ length: 5 }, () => pull(daemon, name));
      await untilAsked(bigs);
      release();
      const ids = await Promise.all(pulls);
      assert.deepEqual(new Set(ids), new Set([image.config.digest]));
      assert.equal(node.registry.count(getOf(base)) - bases, 1);
      assert.equal(node.registry.count(getOf(big)) - bigs, 1);
    }),
  );

  test(
    "by two names shares the layers",
    imageless(served, async () => {
      const bigs = node.registry.count(getOf(big));
      holdBig();
      const pulls = [pull(daemon, name), pull(daemon, "registry.k8s.io/t/big:same")];
      await untilAsked(bigs);
      release();
      await Promise.all(pulls);
      assert.equal(node.registry.count(getOf(big)) - bigs, 1);
      assert.equal((await imageStatus(daemon, image.config.digest))?.repoTags.length, 2);
    }),
  );

  test(
    "continues for the last client that waits when the others disconnect",
    imageless(served, async () => {
      const bigs = node.registry.count(getOf(big));
      holdBig();
      const callers = [new AbortController(), new AbortController()];
      const pulls = callers.map(({ signal }) =>
        daemon.client.image.pullImage({ image: { image: name } }, { signal }),
      );
      const ends = pulls.map((each) => assert.rejects(each, failsWith(1)));
      const third = pull(daemon, name);
      await untilAsked(bigs);
      for (const caller of callers) caller.abort();
      await Promise.all(ends);
      release();
      assert.equal(await third, image.config.digest);
      assert.equal(node.registry.count(getOf(big)) - bigs, 1);
    }),
  );
});

test(
  "a small image is not stuck behind a large one of the same slow registry",
  imageless(served, async () => {
    const random = (name: string, bytes: number): Layer =>
      layerOf([{ path: name, body: randomBytes(bytes) }], "none");
    const parts = ["a", "b", "c", "d"].map((part) => random(part, 8 << 20));
    // Larger than the blobs that have a turn of their own.
    const small = imageOf([base, random("small", 5 << 20)]);
    await node.registry.push("t/large", imageOf(parts), ["1"]);
    await node.registry.push("t/small", small, ["1"]);
    const isPart = new RegExp(`^GET .*/blobs/(${parts.map(({ digest }) => digest).join("|")})`);
    release = node.registry.hold(isPart, 2 << 20);
    const large = pull(daemon, "registry.k8s.io/t/large:1");
    await until("three layers are asked for", () => node.registry.count(isPart) === 3);
    assert.equal(await pull(daemon, "registry.k8s.io/t/small:1"), small.config.digest);
    assert.equal(await imageStatus(daemon, "registry.k8s.io/t/large:1"), undefined);
    release();
    await large;
  }),
);

describe("a cancelled pull", () => {
  test(
    "after a millisecond answers DeadlineExceeded and leaves nothing",
    imageless(served, async () => {
      const call = daemon.client.image.pullImage({ image: { image: name } }, { timeoutMs: 1 });
      await assert.rejects(call, failsWith(code.deadlineExceeded));
      await until("no layer is left", () => halfMade().length === 0);
      assert.deepEqual(await listImages(daemon), []);
    }),
  );

  test(
    "in the middle of a layer leaves no part of it, and does not end the next pull",
    imageless(served, async () => {
      const bigs = node.registry.count(getOf(big));
      holdBig();
      const call = daemon.client.image.pullImage({ image: { image: name } }, { timeoutMs: 3000 });
      const ended = assert.rejects(call, failsWith(code.deadlineExceeded));
      await untilAsked(bigs);
      await until("the layer is begun", () => halfMade().length > 0);
      await ended;
      await until("no half layer is left", () => halfMade().length === 0);
      assert.equal(await imageStatus(daemon, name), undefined);
      release();
      await pull(daemon, name);
      assert.equal((await imageStatus(daemon, name))?.id, image.config.digest);
    }),
  );
});

describe("a registry that serves wrong bytes", () => {
  const cases = {
    "another content than the layer's digest": { blob: true, diff: false },
    "a layer that is not the one of the config": { blob: false, diff: true },
  };
  for (const [what, { blob, diff }] of Object.entries(cases)) {
    test(
      `${what} is refused, and leaves nothing`,
      imageless(served, async () => {
        const good = layerOf([{ path: "file", body: randomBytes(100_000) }]);
        const other = layerOf([{ path: "other", body: "other" }]);
        const wrong = imageOf([diff ? { ...good, diffId: other.diffId } : good]);
        const tag = blob ? "blob" : "diff";
        await node.registry.push("t/wrong", wrong, [tag]);
        if (blob) node.registry.corrupt(getOf(good));
        try {
          await assert.rejects(
            pull(daemon, `registry.k8s.io/t/wrong:${tag}`),
            failsWith(15, /sha256:/),
          );
        } finally {
          node.registry.corrupt(undefined);
        }
        await until("no layer is left", () => layersThere(daemon).length === 0);
        assert.deepEqual(await listImages(daemon), []);
      }),
    );
  }
});

/** The body of a test in which the daemon starts again. */
function across(run: () => Promise<void>): () => Promise<void> {
  return async () => {
    try {
      await run();
    } finally {
      await removeAllImages(daemon);
    }
  };
}

describe("a daemon that is killed", () => {
  test(
    "in the middle of a pull lists nothing of it afterwards, sweeps it, and pulls again",
    across(async () => {
      const bigs = node.registry.count(getOf(big));
      holdBig();
      const call = pull(daemon, name);
      const failed = assert.rejects(call, failsWith(code.unavailable));
      await untilAsked(bigs);
      await until("the layer is begun", () => halfMade().length > 0);
      await daemon.kill9();
      await failed;
      release();
      await launchDaemon(daemon);
      assert.deepEqual(await listImages(daemon), []);
      await until("what was begun is swept", () => halfMade().length === 0);
      await pull(daemon, name);
      assert.equal((await imageStatus(daemon, name))?.id, image.config.digest);
    }),
  );

  for (const how of ["kill -9", "stop"] as const) {
    test(
      `by ${how} has its images again, and containers start from them`,
      across(async () => {
        await pull(daemon, name);
        const before = await listImages(daemon);
        const usage = async (): Promise<unknown> =>
          (await daemon.client.image.imageFsInfo({})).imageFilesystems[0]?.usedBytes;
        const used = await usage();
        const bigs = node.registry.count(getOf(big));
        await (how === "stop" ? daemon.stop() : daemon.kill9());
        await launchDaemon(daemon);
        assert.deepEqual(await listImages(daemon), before);
        assert.deepEqual(await usage(), used);
        await pull(daemon, name);
        assert.equal(node.registry.count(getOf(big)), bigs, "nothing is fetched again");
        const pod = await openPod(daemon, bare());
        const id = await createIn(pod, container({ image: { image: name } }));
        await start(daemon, id);
        assert.equal(await sh(daemon, id, "wc -c < /big"), String(4 << 20));
        await closePod(pod);
        const roots = path.join(daemon.paths.root, "roots");
        assert.ok(!existsSync(roots) || !readdirSync(roots).includes(id));
      }),
    );
  }
});
