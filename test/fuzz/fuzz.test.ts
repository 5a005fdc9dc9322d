/**
 * Every fuzz target on a few inputs: those that failed once, and as many random ones with a fixed seed as with one
 * from the clock. CI has the fixed seed only: a change must not fail by an input that an older one fails by as well.
 * `npm run test:fuzz` runs them for minutes.
 */
import assert from "node:assert/strict";
import process from "node:process";
import { after, describe, test } from "node:test";

import { chooseSeed } from "../support/random.ts";
import { errorOf, runCampaign } from "./campaign.ts";
import { failedInputs } from "./inputs.ts";
import { loadTarget, targetNames } from "./targets.ts";

/** Inputs for each of the two seeds, the small ones of the target included. */
const cases = 150;
const smallBytes = 16 * 1024;
const fixedSeed = 18;
const runs: (readonly [string, number])[] = [["a fixed seed", fixedSeed]];
if (process.env["CI"] === undefined) runs.push(["a random seed", chooseSeed()]);

for (const name of targetNames) {
  const whole = await loadTarget(name);
  const seeds = whole.seeds().filter(({ length }) => length <= smallBytes);
  const target = { ...whole, seeds: () => seeds };

  describe(`fuzz ${name}`, () => {
    after(() => target.close?.());

    for (const [file, input] of failedInputs(name)) {
      test(`failed once: ${file}`, async () => {
        const error = await errorOf(target, input);
        assert.ifError(error);
      });
    }

    for (const [what, seed] of runs) {
      test(`inputs of ${what}`, async (context) => {
        context.diagnostic(`DAVIT_TEST_SEED=${seed} repeats this`);
        const isOver = (count: number): boolean => count >= cases + seeds.length;
        const { failures } = await runCampaign(target, { seed, isOver });
        const [failure] = failures;
        if (failure === undefined) return;
        const text = failure.input.toString("base64").slice(0, 4000);
        assert.fail(
          `${failure.error instanceof Error ? failure.error.stack : String(failure.error)}\n` +
            `with the seed ${seed} and the input (base64) ${text}`,
        );
      });
    }
  });
}
