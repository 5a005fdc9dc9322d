/** A short run of the churn in test/faults: pods whose callers disconnect, repeat calls and interfere. */
import { test } from "node:test";
import { churn } from "../support/suites/churn.ts";

test("60 pods whose callers disconnect, repeat calls and interfere leave nothing", async (t) => {
  await churn(t, { pods: 60, parallel: 8, sampleEvery: 15 });
});
