import assert from "node:assert/strict";
import { test } from "node:test";
import { Progress } from "./progress.ts";
import { recordedTerminal } from "./testing/recorded-terminal.ts";

function ticking(stepMs: number): () => number {
  let now = 0;
  return () => (now += stepMs);
}

test("Progress.step() prints a check mark, the duration and the result", async () => {
  const terminal = recordedTerminal();
  const progress = new Progress(terminal, ticking(12));
  const result = await progress.step(
    "Do it",
    () => Promise.resolve(7),
    (seven) => `it is ${seven}`,
  );
  assert.equal(result, 7);
  assert.match(terminal.written.out, /^ {2}\u2713 Do it +12 ms {2}it is 7\n$/);
});

test("Progress.step() prints a cross and rethrows when the work fails", async () => {
  const terminal = recordedTerminal();
  const progress = new Progress(terminal, ticking(1));
  const failing = progress.step("Do it", () => {
    throw new Error("no");
  });
  await assert.rejects(failing, { message: "no" });
  assert.match(terminal.written.out, /^ {2}\u2717 Do it +1\.0 ms\n$/);
});

test("Progress.step() shows the running step in a terminal, and replaces its line", async () => {
  const terminal = recordedTerminal({ isTTY: true });
  const progress = new Progress(terminal, ticking(1));
  await progress.step("Do it", () => {
    assert.match(terminal.written.out, /Do it$/);
  });
  assert.ok(terminal.written.out.includes("Do it\r\u001b[2K"));
});
