import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { removeAfterAnnotation } from "../../core/sandbox/index.ts";
import { FakeEngine } from "../testing/engine.ts";

const annotated = {
  metadata: { name: "web", namespace: "default", uid: "web", attempt: 0 },
  annotations: { [removeAfterAnnotation]: "main" },
};
const named = (name: string, attempt = 0) => ({ metadata: { name, attempt } });
const message = "removing a pod because its container ended";

function pods({ sandboxes }: FakeEngine): readonly string[] {
  return [...sandboxes.store.all()].map(({ id }) => id);
}

describe("a pod with the annotation", () => {
  test("is removed a moment after the end of its container, and others are not", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time, host } = engine.world;
    await engine.removeAfter.begin();
    const pod = await engine.run(annotated);
    const init = await engine.start(pod, named("init"));
    runtime.exit(init);
    await time.advance(10_000);
    assert.deepEqual(pods(engine), [pod], "another container of it has ended");
    const main = await engine.start(pod, named("main"));
    const other = await engine.run();
    const inOther = await engine.start(other, named("main"));
    runtime.exit(inOther);
    runtime.exit(main, { exitCode: 3 });
    await time.advance(500);
    assert.equal(engine.containers.store.get(main).state.name, "exited", "it can be asked for");
    await time.advance(1_000);
    assert.deepEqual(pods(engine), [other]);
    assert.deepEqual(
      [...engine.containers.store.all()].map(({ id }) => id),
      [inOther],
    );
    assert.ok(host.things().length > 0);
    assert.equal(engine.logged("info").filter((line) => line === message).length, 1);
  });

  test("stays if kubelet runs it", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    await engine.removeAfter.begin();
    const annotations = { ...annotated.annotations, "kubernetes.io/config.source": "api" };
    const pod = await engine.run({ ...annotated, annotations });
    runtime.exit(await engine.start(pod, named("main")));
    await time.advance(10_000);
    assert.deepEqual(pods(engine), [pod]);
  });

  test("stays while the next attempt of its container runs", async (t) => {
    const engine = new FakeEngine(t);
    const { runtime, time } = engine.world;
    await engine.removeAfter.begin();
    const pod = await engine.run(annotated);
    runtime.exit(await engine.start(pod, named("main")));
    await time.advance(100);
    const next = await engine.start(pod, named("main", 1));
    await time.advance(10_000);
    assert.deepEqual(pods(engine), [pod]);
    runtime.exit(next);
    await time.advance(2_000);
    assert.deepEqual(pods(engine), []);
  });

  test("is removed by the next daemon, and its removal is repeated", async (t) => {
    const engine = new FakeEngine(t);
    const pod = await engine.run(annotated);
    engine.world.runtime.exit(await engine.start(pod, named("main")));
    await engine.world.time.advance(100);
    const next = await engine.restart();
    await next.recover();
    next.faults.fail("remove-pod-sandbox/shut-down");
    await next.removeAfter.begin();
    await next.world.time.advance(5_000);
    assert.deepEqual(pods(next), [pod]);
    next.faults.heal("remove-pod-sandbox/shut-down");
    await next.world.time.advance(60_000);
    assert.deepEqual([pods(next), next.world.host.things()], [[], []]);
  });
});
