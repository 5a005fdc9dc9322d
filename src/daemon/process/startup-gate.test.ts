import assert from "node:assert/strict";
import { test } from "node:test";
import { StartupGate } from "./startup-gate.ts";

test("StartupGate ends the wait when it is opened", async () => {
  const arrival = new StartupGate<string>(60_000);
  const waited = arrival.settled.then(() => arrival.value);
  assert.equal(arrival.value, undefined);
  arrival.open("here");
  assert.equal(await waited, "here");
  assert.equal(arrival.value, "here");
});

test("StartupGate ends the wait at disposal and when the time is over", async () => {
  const given = new StartupGate<string>(60_000);
  const waited = given.settled.then(() => given.value);
  given[Symbol.dispose]();
  assert.equal(await waited, undefined);

  const late = new StartupGate<string>(1);
  // Its own timer keeps no process alive.
  const alive = setInterval(() => undefined, 1000);
  await late.settled;
  clearInterval(alive);
  assert.equal(late.value, undefined);
  late.open("late");
  assert.equal(late.value, "late");
});
