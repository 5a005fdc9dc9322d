import assert from "node:assert/strict";
import { test } from "node:test";

import { Samples, settled } from "./samples.ts";

const times = { freshMs: 1000, patienceMs: 500 };

void test("Samples.refresh() measures once for all who ask, and again when the value is old", async () => {
  let now = 0;
  let measured = 0;
  const samples = new Samples<number>(times, () => now);
  const measure = (): Promise<number> => Promise.resolve(++measured);
  const first = samples.refresh("a", measure);
  assert.equal(samples.refresh("a", measure), first);
  await first;
  now = 999;
  assert.equal(samples.refresh("a", measure), undefined);
  assert.equal(samples.fresh("a", now), 1);
  now = 1000;
  assert.equal(samples.fresh("a", now), undefined);
  await samples.refresh("a", measure);
  assert.equal(samples.fresh("a", now), 2);
  assert.equal(measured, 2);
});

void test("Samples.refresh() does not wait twice for a measuring that is stuck, nor starts another", async () => {
  let now = 0;
  let measured = 0;
  const samples = new Samples<number>(times, () => now);
  const hang = Promise.withResolvers<number>();
  const stuck = samples.refresh("a", () => {
    measured++;
    return hang.promise;
  });
  now = 500;
  assert.equal(
    samples.refresh("a", () => Promise.resolve(++measured)),
    undefined,
  );
  assert.equal(samples.last("a"), undefined);
  hang.resolve(7);
  await stuck;
  assert.equal(measured, 1);
  assert.equal(samples.fresh("a", now), 7);
});

void test("Samples.refresh() keeps the last value when a measuring fails", async () => {
  let now = 0;
  const samples = new Samples<number>(times, () => now);
  await samples.refresh("a", () => Promise.resolve(1));
  now = 2000;
  await samples.refresh("a", () => Promise.reject(new Error("gone")));
  assert.equal(samples.last("a"), 1);
  assert.equal(samples.fresh("a", now), undefined);
});

void test("Samples.refresh() drops values without requests, except measurements in progress", async () => {
  let now = 0;
  const forgotten: string[] = [];
  const samples = new Samples<number>(
    times,
    () => now,
    (key) => forgotten.push(key),
  );
  await samples.refresh("gone", () => Promise.resolve(1));
  void samples.refresh("stuck", () => Promise.withResolvers<number>().promise);
  now = 300_000;
  await samples.refresh("new", () => Promise.resolve(1));
  assert.equal(samples.last("gone"), undefined);
  assert.equal(samples.size, 2);
  assert.deepEqual(forgotten, ["gone"]);
});

void test("Samples drops its values when nobody asks for them any more", async ({ mock }) => {
  mock.timers.enable({ apis: ["setTimeout"] });
  let now = 0;
  const forgotten: string[] = [];
  const samples = new Samples<number>(
    times,
    () => now,
    (key) => forgotten.push(key),
  );
  const pass = (ms: number): void => {
    now += ms;
    mock.timers.tick(ms);
  };
  await samples.refresh("a", () => Promise.resolve(1));
  pass(200_000);
  await samples.refresh("b", () => Promise.resolve(1));
  pass(100_000);
  assert.deepEqual(forgotten, ["a"]);
  pass(300_000);
  assert.deepEqual(forgotten, ["a", "b"]);
  assert.equal(samples.size, 0);
});

void test("settled() ends with the work, and at its limit without it", async () => {
  await settled([], 1_000_000);
  await settled([undefined, Promise.resolve()], 1_000_000);
  await settled([Promise.withResolvers<undefined>().promise], 1);
});

void test("Samples.forget() drops a value, also while a measurement is in progress", async () => {
  const samples = new Samples<number>(times, () => 0);
  await samples.refresh("a", () => Promise.resolve(1));
  const under = Promise.withResolvers<number>();
  const pending = samples.refresh("b", () => under.promise);
  samples.forget("a");
  samples.forget("b");
  under.resolve(2);
  await pending;
  assert.equal(samples.size, 0);
});
