/** davit.v1.Pulls/Pull: the progress of a pull from a real registry, and how a caller ends it. */
import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, afterEach, before, test } from "node:test";
import { CriClient } from "../../src/client/cri-client.ts";
import { LayerProgress_State as State, type PullResponse } from "../../src/gen/davit/v1/pull_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, type Layer, layerOf } from "../support/images.ts";
import { imageless, imageStatus, Node, pull } from "../support/suites/containers.ts";
import { code, failsWith, until } from "../support/suites/pods.ts";

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
  await node.registry.push("t/big", image, ["1"]);
});
afterEach(() => {
  release();
});
after(() => node[Symbol.asyncDispose]());

const getOf = ({ digest }: Layer): RegExp => new RegExp(`^GET .*/blobs/${digest}`);

/** Reads the messages of a pull with a connection of its own. */
function pulling(signal?: AbortSignal): {
  readonly messages: PullResponse[];
  readonly times: number[];
  readonly end: Promise<void>;
} {
  const client = new CriClient(daemon.paths.socket);
  const messages: PullResponse[] = [];
  const times: number[] = [];
  const read = async (): Promise<void> => {
    try {
      const options = signal === undefined ? {} : { signal };
      for await (const message of client.pulls.pull({ image: name }, options)) {
        messages.push(message);
        times.push(performance.now());
      }
    } finally {
      client.close();
    }
  };
  const end = read();
  end.catch(() => undefined);
  return { messages, times, end };
}

/** The states of the layers in the newest message, with the bytes of the big one. */
function latest(messages: readonly PullResponse[]) {
  const part = messages.at(-1)?.part;
  return part?.case === "progress" ? part.value : undefined;
}

test(
  "Pull tells the layers and their bytes, a few times a second, and at last the image",
  imageless(served, async () => {
    release = node.registry.hold(getOf(big), 2 << 20);
    const first = pulling();
    await until("the base is there, and half of the other layer", () => {
      const layers = latest(first.messages)?.layers ?? [];
      return (
        layers[0]?.state === State.DONE &&
        layers[1]?.state === State.FETCHING &&
        layers[1].fetchedBytes > 1_000_000n
      );
    });
    const { stage, layers } = latest(first.messages) ?? {};
    assert.equal(stage, "fetch-layers");
    assert.deepEqual(
      layers?.map(({ digest, sizeBytes }) => [digest, Number(sizeBytes)]),
      [base, big].map(({ digest, bytes }) => [digest, bytes.length]),
    );
    assert.ok((layers[1]?.fetchedBytes ?? 0n) < BigInt(big.bytes.length));
    // Another caller of the same pull is told the same, at once.
    const second = pulling();
    await until("the second caller is told", () => latest(second.messages)?.layers.length === 2);
    release();
    await Promise.all([first.end, second.end]);
    for (const { messages, times } of [first, second]) {
      const last = messages.at(-1)?.part;
      assert.ok(last?.case === "image");
      assert.equal(last.value.id, image.config.digest);
      assert.match(last.value.name, /^registry\.k8s\.io\/t\/big:1@sha256:[0-9a-f]{64}$/);
      assert.equal(Number(last.value.fetchedBytes), base.bytes.length + big.bytes.length);
      const progress = times.slice(0, -1);
      const inASecond = progress.map(
        (at) => progress.filter((t) => t >= at && t < at + 990).length,
      );
      assert.ok(Math.max(...inASecond) <= 4, String(inASecond));
    }
    const again = pulling();
    await again.end;
    const last = again.messages.at(-1)?.part;
    assert.ok(last?.case === "image" && last.value.fetchedBytes === 0n);
    assert.equal(node.registry.count(getOf(big)), 1);
  }),
);

test(
  "Pull ends with its caller, but not while another one waits for the image",
  imageless(served, async () => {
    release = node.registry.hold(getOf(big), 2 << 20);
    const asked = node.registry.count(getOf(big));
    const isPulling = async (): Promise<boolean> => {
      const { info } = await daemon.client.runtime.status({ verbose: true });
      return (info["inflight"] ?? "").includes("pull-image");
    };
    for (const isShared of [false, true]) {
      const caller = new AbortController();
      const own = pulling(caller.signal);
      await until("it fetches", () => latest(own.messages)?.layers.length === 2);
      const other = isShared ? pull(daemon, name) : undefined;
      caller.abort();
      await assert.rejects(own.end, failsWith(1));
      if (other === undefined) {
        await until("the pull has ended", async () => !(await isPulling()));
        continue;
      }
      assert.equal(await isPulling(), true);
      release();
      assert.equal(await other, image.config.digest);
    }
    assert.ok(node.registry.count(getOf(big)) > asked);
    assert.equal((await imageStatus(daemon, name))?.id, image.config.digest);
  }),
);

test(
  "Pull fails as PullImage does",
  imageless(served, async () => {
    const read = async (wanted: string): Promise<void> => {
      for await (const { part } of daemon.client.pulls.pull({ image: wanted })) {
        assert.equal(part.case, "progress");
      }
    };
    await assert.rejects(read(""), failsWith(code.invalidArgument, /the image is missing/));
    await assert.rejects(read("UPPER"), failsWith(code.invalidArgument, /UPPER/));
    await assert.rejects(read("registry.k8s.io/t/none:1"), failsWith(code.notFound, /t\/none:1/));
  }),
);
