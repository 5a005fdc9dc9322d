import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { spawnChild } from "./child.ts";
import { findByCommandLine } from "./command-lines.ts";
import { processStartTime } from "./process-ref.ts";

test("findByCommandLine() finds a process by its words, with what tells it from a later one", async () => {
  const word = randomUUID();
  const args = ["-c", "sleep 60", "-id", word];
  const child = spawnChild({ file: "sh", args, env: { PATH: "/usr/bin:/bin" } });
  const find = () => findByCommandLine((found) => found[found.indexOf("-id") + 1] === word);
  let found = await find();
  // Between fork and execve it has the command line of its parent.
  while (found.length === 0) found = await find();
  assert.deepEqual(
    found.map(({ pid, startTime }) => ({ pid, startTime })),
    [{ pid: child.pid, startTime: String(processStartTime(child.pid)) }],
  );
  assert.deepEqual(found[0]?.args.slice(1, 5), args);
  child.kill(9);
  await child.exited;
  assert.deepEqual(await find(), []);
});
