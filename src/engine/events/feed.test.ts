import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { UpdateContainerResourcesRequestSchema } from "../../gen/runtime/v1/api_pb.ts";
import { removeContainer, startContainer } from "../container/index.ts";
import { updateContainerResources } from "../container/update.ts";
import { removePodSandbox, stopPodSandbox } from "../sandbox/index.ts";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { EventFeed, type PodEvent } from "./feed.ts";
import type { QueueLimits } from "./subscription.ts";

const plenty: QueueLimits = { events: 1000, bytes: 1_000_000 };

/** A feed of an engine. What it encodes is kept; the encoding is the index of the event. */
function feedOf(engine: FakeEngine, limits = plenty): { feed: EventFeed; events: PodEvent[] } {
  const events: PodEvent[] = [];
  const feed = new EventFeed({
    ...engine.sandboxes,
    containerStore: engine.containers.store,
    encode: (event) => Uint8Array.of(events.push(event) - 1),
    limits,
  });
  return { feed, events };
}

/** An event in words: what happened, the sandbox's readiness, and the states of its containers. */
function words({ kind, pod }: PodEvent, what: string): string {
  const states = pod?.containers.map(({ state }) => state.name).join(",") ?? "no pod";
  return `${what} ${kind}: ${pod?.ready === true ? "ready" : "notready"} [${states}]`;
}

describe("EventFeed", () => {
  test("keeps the status of a deleted sandbox from kubelet if the pod has another one", async (t) => {
    const engine = new FakeEngine(t);
    const { feed, events } = feedOf(engine);
    const attempt = (count: number) => ({
      metadata: { name: "web", namespace: "default", uid: "u-1", attempt: count },
    });
    const old = await engine.run(attempt(0));
    await stopPodSandbox(engine.sandboxes, old, never);
    const next = await engine.run(attempt(1));
    using _reader = feed.subscribe();
    await removePodSandbox(engine.sandboxes, old, never);
    await stopPodSandbox(engine.sandboxes, next, never);
    await removePodSandbox(engine.sandboxes, next, never);
    assert.deepEqual(
      events.map(({ id, kind, pod }) => [id === old ? "old" : "next", kind, pod !== undefined]),
      [
        ["old", "deleted", false],
        ["next", "stopped", true],
        ["next", "deleted", true],
      ],
    );
  });

  test("tells the life of a pod in order, each change with its snapshot", async (t) => {
    const engine = new FakeEngine(t);
    const { feed, events } = feedOf(engine);
    using _reader = feed.subscribe();
    const pod = await engine.run();
    const first = await engine.create(pod);
    await startContainer(engine.containers, first, never);
    const second = await engine.create(pod, { metadata: { name: "other", attempt: 0 } });
    engine.world.runtime.exit(first, { exitCode: 137, oomKilled: true });
    await settle();
    await removeContainer(engine.containers, first, never);
    await stopPodSandbox(engine.sandboxes, pod, never);
    await removePodSandbox(engine.sandboxes, pod, never);
    const names = new Map([
      [pod, "pod"],
      [first, "first"],
      [second, "second"],
    ]);
    assert.deepEqual(
      events.map((event) => words(event, names.get(event.id) ?? "?")),
      [
        "pod created: ready []",
        "pod started: ready []",
        "first created: ready [created]",
        "first started: ready [running]",
        "second created: ready [created,running]",
        "first stopped: ready [created,exited]",
        "first deleted: ready [created]",
        "pod stopped: notready [created]",
        "second deleted: notready []",
        "pod deleted: notready []",
      ],
    );
    const times = events.map(({ atNs }) => atNs);
    assert.deepEqual(
      times,
      times.toSorted((a, b) => (a < b ? -1 : 1)),
    );
    assert.equal(new Set(times).size, times.length);
    for (const { atNs, pod: status } of events) assert.equal(status?.timestampNs, atNs);
    const end = events[5]?.pod?.containers[1]?.state;
    assert.ok(end?.name === "exited" && end.reason === "OOMKilled");
    assert.deepEqual(events[0]?.pod?.ips, ["10.0.0.1", "fd00::1"]);
    assert.deepEqual(events.at(-1)?.pod?.ips, []);
    assert.equal(events.at(-1)?.pod?.sandbox.config.metadata?.uid, "uid-1");
  });

  test("tells nothing before clients can see it", async (t) => {
    const engine = new FakeEngine(t);
    const seen: string[] = [];
    const feed = new EventFeed({
      ...engine.sandboxes,
      containerStore: engine.containers.store,
      limits: plenty,
      encode: ({ kind, id }) => {
        const found = engine.sandboxes.store.find(id) ?? engine.containers.store.find(id);
        seen.push(`${kind} ${found?.state.name ?? "gone"}`);
        return new Uint8Array();
      },
    });
    using _reader = feed.subscribe();
    const pod = await engine.run();
    const id = await engine.start(pod);
    engine.world.runtime.exit(id);
    await settle();
    await removePodSandbox(engine.sandboxes, pod, never);
    assert.deepEqual(seen, [
      "created ready",
      "started ready",
      "created created",
      "started running",
      "stopped exited",
      "stopped dead",
      "deleted gone",
      "deleted gone",
    ]);
  });

  test("tells a failed start and a dead sandbox as stopped, and nothing for other changes", async (t) => {
    const engine = new FakeEngine(t);
    const { feed, events } = feedOf(engine);
    const pod = await engine.run();
    const running = await engine.start(pod);
    const broken = await engine.create(pod, { metadata: { name: "broken", attempt: 0 } });
    using _reader = feed.subscribe();
    const update = { containerId: running, linux: { cpuShares: 512n } };
    await updateContainerResources(
      engine.containers,
      create(UpdateContainerResourcesRequestSchema, update),
      never,
    );
    engine.world.runtime.trouble.fail("start");
    await assert.rejects(startContainer(engine.containers, broken, never));
    engine.world.controller.die(pod, "killed");
    await settle();
    assert.deepEqual(
      events.map(({ kind, id }) => [kind, id]),
      [
        ["stopped", broken],
        ["stopped", pod],
      ],
    );
  });

  test("tells nothing of objects that clients do not know", async (t) => {
    const engine = new FakeEngine(t);
    const { feed, events } = feedOf(engine);
    using _reader = feed.subscribe();
    engine.world.controller.trouble.fail("start");
    await assert.rejects(engine.run());
    assert.deepEqual(events, []);
  });

  test("gives all readers one encoding, and each what comes after its subscription", async (t) => {
    const engine = new FakeEngine(t);
    const { feed, events } = feedOf(engine);
    const readers = Array.from({ length: 50 }, () => feed.subscribe());
    const pod = await engine.run();
    using late = feed.subscribe();
    await removePodSandbox(engine.sandboxes, pod, never);
    assert.equal(events.length, 4);
    feed.close(new RuntimeError("unavailable", "davit is shutting down"));
    assert.equal(feed.readers, 0);
    const got: Uint8Array[][] = [];
    for (const reader of readers) {
      const own: Uint8Array[] = [];
      await assert.rejects(async () => {
        for await (const each of reader) own.push(each);
      }, /shutting down/);
      got.push(own);
    }
    for (const own of got) {
      assert.equal(own.length, 4);
      for (const [at, bytes] of own.entries()) assert.equal(bytes, got[0]?.[at], "the same bytes");
    }
    const [first] = [await late[Symbol.asyncIterator]().next()];
    assert.equal(first.value?.[0], 2, "the stop, after its subscription");
    assert.throws(() => feed.subscribe(), { kind: "unavailable" });
  });

  test("does nothing while nobody reads", async (t) => {
    const engine = new FakeEngine(t);
    const { feed, events } = feedOf(engine);
    {
      using _one = feed.subscribe();
      using _other = feed.subscribe();
      assert.equal(feed.readers, 2);
    }
    assert.equal(feed.readers, 0);
    await removePodSandbox(engine.sandboxes, await engine.run(), never);
    assert.equal(events.length, 0);
    using _again = feed.subscribe();
    await engine.run();
    assert.equal(events.length, 2);
  });

  test("ends a reader that does not keep up, and no other", async (t) => {
    const engine = new FakeEngine(t);
    const { feed } = feedOf(engine, { events: 3, bytes: 1000 });
    using slow = feed.subscribe();
    using quick = feed.subscribe();
    const reader = quick[Symbol.asyncIterator]();
    const pod = await engine.run();
    for (const want of [0, 1]) assert.equal((await reader.next()).value?.[0], want);
    await removePodSandbox(engine.sandboxes, pod, never);
    assert.equal(feed.readers, 1);
    for (const want of [2, 3]) assert.equal((await reader.next()).value?.[0], want);
    await assert.rejects(slow[Symbol.asyncIterator]().next(), { kind: "resource-exhausted" });
    assert.deepEqual(engine.logged("warn"), ["ended an event stream: its client does not keep up"]);
  });

  test("ends all readers when an event cannot be encoded", async (t) => {
    const engine = new FakeEngine(t);
    const feed = new EventFeed({
      ...engine.sandboxes,
      containerStore: engine.containers.store,
      limits: plenty,
      encode: () => {
        throw new TypeError("broken");
      },
    });
    using reader = feed.subscribe();
    const pod = await engine.run();
    assert.equal(engine.sandboxes.store.get(pod).state.name, "ready", "the verb is not affected");
    await assert.rejects(reader[Symbol.asyncIterator]().next(), { kind: "internal" });
    assert.equal(feed.readers, 0);
  });
});
