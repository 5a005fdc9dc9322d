import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, mock, test } from "node:test";
import { SamplePace } from "./pace.ts";

describe("SamplePace", () => {
  let nowMs = 0;
  beforeEach(() => {
    nowMs = 0;
    mock.timers.enable({ apis: ["setTimeout"] });
    mock.method(performance, "now", () => nowMs);
  });
  afterEach(() => {
    mock.timers.reset();
    mock.restoreAll();
  });

  /** Lets time pass, and what waits for it run. */
  async function pass(ms: number): Promise<void> {
    nowMs += ms;
    mock.timers.tick(ms);
    for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  }

  /** A pause, and whether it has ended. */
  function pausing(pace: SamplePace, ms: number): { ended: boolean } {
    const state = { ended: false };
    void pace.pause(ms).then(() => {
      state.ended = true;
    });
    return state;
  }

  test("pauses for the interval", async () => {
    const pause = pausing(new SamplePace(), 2_000);
    await pass(1_999);
    assert.equal(pause.ended, false);
    await pass(1);
    assert.equal(pause.ended, true);
  });

  test("ends a pause early at a change, once in 250 ms", async () => {
    const pace = new SamplePace();
    const first = pausing(pace, 2_000);
    await pass(100);
    pace.hurry();
    pace.hurry();
    await pass(149);
    assert.equal(first.ended, false, "too soon after the last sample");
    await pass(1);
    assert.equal(first.ended, true);
    const second = pausing(pace, 2_000);
    await pass(1_000);
    assert.equal(second.ended, false, "both changes were shown");
    pace.hurry();
    await pass(0);
    assert.equal(second.ended, true, "at once, long after the last sample");
  });

  test("remembers a change during a sample", async () => {
    const pace = new SamplePace();
    pace.hurry();
    const pause = pausing(pace, 2_000);
    await pass(249);
    assert.equal(pause.ended, false);
    await pass(1);
    assert.equal(pause.ended, true);
  });

  test("does not pause once it is over", async () => {
    const pace = new SamplePace();
    const pause = pausing(pace, 2_000);
    pace.over();
    await pass(0);
    assert.equal(pause.ended, true);
    const later = pausing(pace, 2_000);
    await pass(0);
    assert.equal(later.ended, true);
  });
});
