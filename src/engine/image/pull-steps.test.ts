import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FakeEngine, never } from "../testing/engine.ts";
import { settle } from "../testing/manual-time.ts";
import { pullImage } from "./pull.ts";
import { type PullStep, pullSteps } from "./pull-steps.ts";

const request = { name: "app", auth: undefined };

/** A step in words: a stage with the states of the layers, or the name of the image. */
function wordsOf(step: PullStep): string {
  if (step.kind === "image") return step.image.name;
  return [step.stage, ...step.layers.map(({ state }) => state)].join(" ");
}

/** Reads the steps of a pull in the background. */
function reading(engine: FakeEngine, signal = never) {
  const steps: PullStep[] = [];
  const read = async (): Promise<void> => {
    for await (const step of pullSteps(engine.images, request, signal)) steps.push(step);
  };
  return { steps, words: () => steps.map(wordsOf), end: read() };
}

describe("pullSteps()", () => {
  test("tells the stage at once, changes four times a second, and at last the image", async (t) => {
    const engine = new FakeEngine(t);
    const { source, time } = engine.world;
    const { id, resolved } = source.publish("app", { layers: ["base", "app"] });
    const resolving = source.trouble.hang("resolve");
    const pull = reading(engine);
    await resolving.arrived;
    assert.deepEqual(pull.words(), ["resolve"]);
    const fetching = source.trouble.hang("blob");
    resolving.release();
    await fetching.arrived;
    await time.advance(240);
    assert.deepEqual(pull.words(), ["resolve"], "not yet");
    await time.advance(20);
    assert.deepEqual(pull.words(), ["resolve", "fetch-layers waiting waiting"]);
    await time.advance(10_000);
    assert.equal(pull.steps.length, 2, "nothing has changed");
    fetching.release();
    await pull.end;
    const name = `docker.io/library/app:latest@${resolved.digest}`;
    const fetchedBytes = resolved.layers.reduce((sum, each) => sum + Number(each.sizeBytes), 0);
    assert.deepEqual(pull.steps.at(-1), { kind: "image", image: { id, name, fetchedBytes } });

    const again = reading(engine);
    await again.end;
    const last = again.steps.at(-1);
    assert.deepEqual(last, { kind: "image", image: { id, name, fetchedBytes: 0 } });
  });

  test("asks for progress only when its reader reads", async (t) => {
    const engine = new FakeEngine(t);
    const { source, time } = engine.world;
    source.publish("app", { layers: ["base"] });
    const fetching = source.trouble.hang("blob");
    const views = t.mock.method(engine.images.progress, "views");
    const steps = pullSteps(engine.images, request, never);
    assert.equal(wordsOf((await steps.next()).value as PullStep), "resolve");
    await fetching.arrived;
    await time.advance(10_000);
    assert.equal(views.mock.callCount(), 1);
    fetching.release();
    await steps.return();
  });

  test("ends the pull when its reader leaves, unless another caller waits for it", async (t) => {
    const engine = new FakeEngine(t);
    const { source } = engine.world;
    source.publish("app", { layers: ["base"] });
    const isPulling = () =>
      engine.images.operations.views().some(({ operation }) => operation === "pull-image");
    for (const isShared of [false, true]) {
      const fetching = source.trouble.hang("resolve");
      const caller = new AbortController();
      const pull = reading(engine, caller.signal);
      await fetching.arrived;
      const other = isShared ? pullImage(engine.images, request, never) : undefined;
      caller.abort(new Error("left"));
      await assert.rejects(pull.end, { message: "left" });
      await settle();
      assert.equal(isPulling(), isShared);
      fetching.release();
      await other;
    }
  });

  test("fails as the pull does, also while its reader does not read", async (t) => {
    const engine = new FakeEngine(t);
    const steps = pullSteps(engine.images, { ...request, name: "none" }, never);
    await steps.next();
    await settle();
    await assert.rejects(steps.next(), { kind: "not-found" });
    const wrong = pullSteps(engine.images, { ...request, name: "UPPER" }, never);
    await assert.rejects(wrong.next(), { kind: "invalid-argument" });
  });
});
