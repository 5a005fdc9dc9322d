import assert from "node:assert/strict";
import { test } from "node:test";
import { StartupGate } from "./startup-gate.ts";

test("whoever waits goes on when it is here", async () => {
  const arrival = new StartupGate<string>(60_000);
  const waited = arrival.settled.then(() => arrival.value);
  assert.equal(arrival.value, undefined);
  arrival.open("here");
  assert.equal(await waited, "here");
  assert.equal(arrival.value, "here");
});

test("whoever waits goes on without it when it will not come, or the time is over", async () => {
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
