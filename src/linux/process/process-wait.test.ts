import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { describeWait, parseStack, processWait } from "./process-wait.ts";

describe("processWait()", () => {
  test("describes a process by name and state, and is undefined without a process", async () => {
    const wait = await processWait(process.pid);
    assert.equal(wait?.pid, process.pid);
    assert.notEqual(wait.name, "");
    assert.match(wait.state, /^[A-Za-z]$/);
    assert.equal(await processWait(2 ** 22 + 1), undefined);
  });
});

describe("describeWait()", () => {
  test("names the process, its state and where it waits", () => {
    const wait = { pid: 7, name: "dd", state: "D", channel: "io_schedule", stack: ["a", "b"] };
    assert.equal(
      describeWait(wait),
      'process 7 ("dd") in state D (uninterruptible sleep), waiting in io_schedule (a < b)',
    );
    assert.equal(
      describeWait({ ...wait, state: "P", channel: "", stack: [] }),
      'process 7 ("dd") in state P',
    );
  });
});

test("parseStack() gives the functions, innermost first, without the outermost ones", () => {
  const line = (at: number): string => `[<0>] call_${at}+0x15f/0x1d0`;
  const text = Array.from({ length: 12 }, (_, at) => line(at)).join("\n");
  assert.deepEqual(parseStack(text).slice(0, 2), ["call_0", "call_1"]);
  assert.equal(parseStack(text).length, 8);
  assert.deepEqual(parseStack("permission denied"), []);
});
