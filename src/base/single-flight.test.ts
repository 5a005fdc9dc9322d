import assert from "node:assert/strict";
import { test } from "node:test";
import { SingleFlight } from "./single-flight.ts";

test("SingleFlight joins the run of a key, and starts a new one afterwards", async () => {
  const flights = new SingleFlight();
  const gates: PromiseWithResolvers<undefined>[] = [];
  const work = (): Promise<void> => {
    const gate = Promise.withResolvers<undefined>();
    gates.push(gate);
    return gate.promise;
  };
  const first = flights.do("a", work);
  const joined = flights.do("a", work);
  const other = flights.do("b", work);
  assert.equal(gates.length, 2);
  gates[0]?.reject(new Error("broken"));
  gates[1]?.resolve(undefined);
  await assert.rejects(first, /broken/);
  await assert.rejects(joined, /broken/);
  await other;
  const again = flights.do("a", work);
  assert.equal(gates.length, 3);
  gates[2]?.resolve(undefined);
  await again;
});
