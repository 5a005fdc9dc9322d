import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import type { OomEvents } from "../../core/container/index.ts";
import { FakeEngine } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { OomKills } from "./oom-kills.ts";

/** The kernel's counts, and its events, which are reported once for each rearm(). */
class FakeEvents implements OomEvents {
  killed = 0;
  exists = true;
  isArmed = false;
  reads = 0;
  #onEvent: (() => void) | undefined;

  watch(_path: string, onEvent: () => void): ReturnType<OomEvents["watch"]> {
    if (!this.exists) return Promise.resolve(undefined);
    this.#onEvent = onEvent;
    this.isArmed = true;
    return Promise.resolve({
      rearm: () => {
        this.isArmed = true;
      },
      [Symbol.dispose]: () => {
        this.isArmed = false;
        this.#onEvent = undefined;
      },
    });
  }

  count(): Promise<number | undefined> {
    this.reads += 1;
    return Promise.resolve(this.exists ? this.killed : undefined);
  }

  get isWatched(): boolean {
    return this.#onEvent !== undefined;
  }

  /** Kills processes; without any, the cgroup has only reached its limit. */
  event(kills: number): void {
    this.killed += kills;
    if (!this.isArmed) return;
    this.isArmed = false;
    this.#onEvent?.();
  }
}

function watched(t: TestContext): { engine: FakeEngine; kernel: FakeEvents; kills: OomKills } {
  const engine = new FakeEngine(t);
  const kernel = new FakeEvents();
  const { store, sandboxes, log } = engine.containers;
  const { time: clock } = engine.world;
  const { onEvent } = engine.images;
  const kills = new OomKills({ events: kernel, store, sandboxes, clock, onEvent, log });
  t.after(() => kills[Symbol.dispose]());
  return { engine, kernel, kills };
}

describe("OomKills", () => {
  test("logs the kills of a second in one line, with the names of the container", async (t) => {
    const { engine, kernel, kills } = watched(t);
    const { time } = engine.world;
    const id = await engine.start(await engine.run());
    assert.equal(kernel.isWatched, false, "the start does not wait for it");
    await time.advance(1_000);
    assert.equal(kills.of(id), undefined);
    for (let kill = 0; kill < 50; kill += 1) kernel.event(1);
    await time.advance(1_000);
    const lines = engine.log.filter(({ level }) => level === "warn");
    assert.deepEqual(
      lines.map(({ message }) => message),
      ["the OOM killer killed processes of a container"],
    );
    const { pod, container, containerName, kills: count, killsInAll } = lines[0]?.fields ?? {};
    assert.deepEqual([typeof pod, typeof containerName], ["string", "string"]);
    assert.deepEqual([container, count, killsInAll], [id, 50, 50]);
    kernel.event(2);
    await time.advance(1_000);
    assert.deepEqual([kills.of(id)?.count, kills.total], [52, 52]);
    assert.equal(engine.logged("warn").length, 2);
  });

  test("sees a kill between the start and the first check, and one that follows its event", async (t) => {
    const { engine, kernel, kills } = watched(t);
    const id = await engine.start(await engine.run());
    kernel.event(1);
    await engine.world.time.advance(1_000);
    assert.equal(kills.of(id)?.count, 1);
    // v1 reports a kill before it counts it.
    kernel.event(0);
    kernel.killed += 1;
    await engine.world.time.advance(1_000);
    assert.equal(kills.of(id)?.count, 2);
  });

  test("looks less often at a container that is at its limit, until a process is killed", async (t) => {
    const { engine, kernel, kills } = watched(t);
    const { time } = engine.world;
    const id = await engine.start(await engine.run());
    await time.advance(1_000);
    const before = kernel.reads;
    for (let second = 0; second < 300; second += 1) {
      kernel.event(0);
      await time.advance(1_000);
    }
    assert.ok(kernel.reads - before < 20, `${kernel.reads - before} reads in 300 s`);
    kernel.event(1);
    await time.advance(32_000);
    assert.equal(kills.of(id)?.count, 1);
    kernel.event(1);
    await time.advance(1_000);
    assert.equal(kills.of(id)?.count, 2, "soon again after a kill");
  });

  test("ends with the container, and forgets it with its removal", async (t) => {
    const { engine, kernel, kills } = watched(t);
    const { store } = engine.containers;
    const id = await engine.start(await engine.run());
    kernel.event(1);
    await engine.world.time.advance(1_000);
    kernel.event(1);
    const { state } = store.get(id);
    assert.ok(state.name === "running");
    const { startedAtNs } = state;
    const rest = { startedAtNs, finishedAtNs: startedAtNs, message: "", reason: "Error" };
    store.update(id, (now) => ({ ...now, state: { name: "exited", exitCode: 1, ...rest } }));
    assert.equal(kernel.isWatched, false);
    await engine.world.time.advance(60_000);
    assert.equal(kills.of(id)?.count, 1, "what is not counted by then belongs to the end");
    store.remove(id);
    assert.equal(kills.of(id), undefined);
    assert.equal(kills.total, 1);
  });

  test("costs nothing for a container that ends at once", async (t) => {
    const { engine, kernel } = watched(t);
    await engine.start(await engine.run());
    for (const { id } of engine.containers.store.all()) engine.containers.store.remove(id);
    await engine.world.time.advance(5_000);
    assert.equal(kernel.reads, 0);
  });

  test("does not report kills from before a restart, but shows them", async (t) => {
    const first = watched(t);
    await first.engine.start(await first.engine.run());
    first.kills[Symbol.dispose]();
    const engine = await first.engine.restart();
    const kernel = new FakeEvents();
    kernel.killed = 3;
    const { store, sandboxes, log } = engine.containers;
    const { time: clock } = engine.world;
    const { onEvent } = engine.images;
    using kills = new OomKills({ events: kernel, store, sandboxes, clock, onEvent, log });
    await engine.recover();
    const [container] = store.listed();
    assert.equal(container?.state.name, "running");
    await clock.advance(1_000);
    assert.deepEqual(kills.of(container.id), { count: 3 });
    kernel.event(1);
    await clock.advance(1_000);
    assert.equal(kills.of(container.id)?.count, 4);
    assert.deepEqual([kills.total, engine.logged("warn").length], [1, 1]);
  });

  test("survives a kernel without such events", async (t) => {
    const { engine, kernel, kills } = watched(t);
    t.mock.method(kernel, "watch", () => Promise.reject(new Error("EINVAL")));
    const id = await engine.start(await engine.run());
    await engine.world.time.advance(1_000);
    await settle();
    assert.equal(kills.of(id), undefined);
    assert.match(engine.logged("debug").join("\n"), /cannot watch the OOM kills .* EINVAL/);
  });

  test("reports kills in a container that runs on, and the kill that ends it, once each", async (t) => {
    const { engine, kernel } = watched(t);
    const { time, runtime } = engine.world;
    const sandboxId = await engine.run();
    const kills = () => engine.events.filter(({ kind }) => kind === "oom-killed");
    const eventOf = (containerId: string) => ({ kind: "oom-killed", containerId, sandboxId });

    const killed = await engine.start(sandboxId);
    runtime.exit(killed, { exitCode: 137, oomKilled: true });
    await settle();
    assert.deepEqual(kills(), [eventOf(killed)]);

    const other = await engine.start(sandboxId, { metadata: { name: "other" } });
    await time.advance(1_000);
    kernel.event(2);
    await time.advance(1_000);
    assert.deepEqual(kills(), [eventOf(killed), eventOf(other)]);
    // A signal of the client ends it, and the kill that was reported is still its reason.
    runtime.exit(other, { exitCode: 137, oomKilled: true });
    await settle();
    assert.equal(kills().length, 2);

    kernel.killed = 0;
    const twice = await engine.start(sandboxId, { metadata: { name: "twice" } });
    await time.advance(1_000);
    kernel.event(1);
    await time.advance(1_000);
    kernel.event(1);
    runtime.exit(twice, { exitCode: 137, oomKilled: true });
    await settle();
    assert.deepEqual(kills().slice(2), [eventOf(twice), eventOf(twice)]);

    runtime.exit(await engine.start(sandboxId, { metadata: { name: "fine" } }));
    await settle();
    assert.equal(kills().length, 4);
  });
});
