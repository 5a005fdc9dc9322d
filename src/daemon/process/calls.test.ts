import assert from "node:assert/strict";
import { test } from "node:test";
import type { Call } from "../../wire/grpc/call.ts";
import { Calls } from "./calls.ts";

let made = 0;

const call = (method: string, startedAt: number, deadline?: number): Call => ({
  method: `/runtime.v1.RuntimeService/${method}`,
  id: ++made,
  signal: new AbortController().signal,
  startedAt,
  sendHeaders: () => undefined,
  metadata: () => undefined,
  ...(deadline === undefined ? {} : { deadline }),
});

test("Calls shows the calls that are under way, oldest first", () => {
  const calls = new Calls(() => 2_000);
  const end = calls.begin(call("RunPodSandbox", 1_000, 5_000));
  calls.begin(call("StopContainer", 1_999));
  assert.deepEqual(calls.views(), [
    { method: "RunPodSandbox", ageMs: 1_000, leftMs: 3_000 },
    { method: "StopContainer", ageMs: 1 },
  ]);
  end();
  assert.deepEqual(
    calls.views().map(({ method }) => method),
    ["StopContainer"],
  );
});

test("Calls shows them in their order, whichever of them ended before, and once", () => {
  const calls = new Calls(() => 0);
  const ends = ["a", "b", "c", "d"].map((method) => calls.begin(call(method, 0)));
  const shown = (): readonly string[] => calls.views().map(({ method }) => method);
  ends[1]?.();
  ends[1]?.();
  calls.begin(call("e", 0));
  assert.deepEqual(shown(), ["a", "c", "d", "e"]);
  ends[0]?.();
  ends[3]?.();
  assert.deepEqual(shown(), ["c", "e"]);
});
