import assert from "node:assert/strict";
import { test } from "node:test";
import { loadFactor, patient } from "./patience.ts";

test("loadFactor() is how many runnable threads there are for each CPU, from 1 to 4", () => {
  assert.equal(loadFactor("0.10 9.00 9.00 1/300 4242\n", 2), 1);
  assert.equal(loadFactor("5.00 0.00 0.00 1/300 4242\n", 2), 2.5);
  assert.equal(loadFactor("0.50 0.00 0.00 6/300 4242\n", 2), 3);
  assert.equal(loadFactor("80.00 0.00 0.00 90/300 4242\n", 2), 4);
});

test("patient() never shortens a deadline", () => {
  assert.ok(patient(1000) >= 1000);
});
