import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { Clock } from "../../../base/time.ts";
import { Answers } from "./answers.ts";

class ManualClock implements Clock {
  now = 1_000_000;
  nowMs(): number {
    return this.now;
  }
  nowNs(): bigint {
    return BigInt(this.now) * 1_000_000n;
  }
}

const { signal } = new AbortController();

describe("Answers", () => {
  test("shares one run, and uses its answer until its end, at least for 30 s", async () => {
    const clock = new ManualClock();
    const answers = new Answers<number>(clock);
    let runs = 0;
    const ask = async (lifeMs: number) => ({ value: (runs += 1), lifeMs });
    const get = (lifeMs = 60_000): Promise<number> => answers.get(["a"], signal, () => ask(lifeMs));
    assert.deepEqual(await Promise.all([get(), get()]), [1, 1]);
    clock.now += 59_999;
    assert.equal(await get(), 1);
    clock.now += 1;
    assert.equal(await get(0), 2);
    clock.now += 29_999;
    assert.equal(await get(0), 2);
    clock.now += 1;
    assert.equal(await get(0), 3);
  });

  test("remembers a failure for 30 s, and it is the same object", async () => {
    const clock = new ManualClock();
    const answers = new Answers<number>(clock);
    let runs = 0;
    const fail = async (): Promise<never> => {
      throw new Error(`run ${(runs += 1)}`);
    };
    const caught = (): Promise<unknown> =>
      answers.get(["a"], signal, fail).catch((error: unknown) => error);
    const first = await caught();
    assert.equal(await caught(), first);
    clock.now += 30_000;
    assert.match(String(await caught()), /run 2/);
  });

  test("uses an answer for what it holds for", async () => {
    const answers = new Answers<string>(new ManualClock());
    const ask = async () => ({ value: "of the registry", lifeMs: 60_000, key: "registry" });
    await answers.get(["image 1", "registry"], signal, ask);
    const other = () => assert.fail("asked again");
    assert.equal(await answers.get(["image 2", "registry"], signal, other), "of the registry");
  });

  test("stops waiting at the signal; the run continues for the others", async () => {
    const answers = new Answers<number>(new ManualClock());
    const run = Promise.withResolvers<{ value: number; lifeMs: number }>();
    const abort = new AbortController();
    const left = answers.get(["a"], abort.signal, () => run.promise);
    const stays = answers.get(["a"], signal, () => assert.fail("asked again"));
    abort.abort(new Error("left"));
    await assert.rejects(left, /left/);
    run.resolve({ value: 5, lifeMs: 0 });
    assert.equal(await stays, 5);
  });

  test("forgets a refused answer that is not new", async () => {
    const clock = new ManualClock();
    const answers = new Answers<number>(clock);
    let runs = 0;
    const get = (): Promise<number> =>
      answers.get(["a"], signal, async () => ({ value: (runs += 1), lifeMs: 3_600_000 }));
    await get();
    await answers.forget((value) => value === 1);
    assert.equal(await get(), 1);
    clock.now += 30_001;
    await answers.forget((value) => value === 7);
    assert.equal(await get(), 1);
    await answers.forget((value) => value === 1);
    assert.equal(await get(), 2);
  });

  test("keeps a limited number", async () => {
    const answers = new Answers<number>(new ManualClock());
    for (let at = 0; at <= 1000; at += 1) {
      await answers.get([`image ${at}`], signal, async () => ({ value: at, lifeMs: 60_000 }));
    }
    let isAskedAgain = false;
    await answers.get(["image 0"], signal, async () => {
      isAskedAgain = true;
      return { value: 0, lifeMs: 60_000 };
    });
    assert.ok(isAskedAgain);
  });
});
