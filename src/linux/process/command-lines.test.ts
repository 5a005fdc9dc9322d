import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { test } from "node:test";

import { spawnChild } from "./child.ts";
import { environmentOf, findByCommandLine, findByEnvironment } from "./command-lines.ts";
import { processStartTime } from "./process-ref.ts";

test("findByCommandLine() finds a process by its arguments, with its start time", async () => {
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

test("findByEnvironment() finds an orphaned process in a session of its own", async () => {
  const name = "DAVIT_TEST_MARK";
  const word = randomUUID();
  const env = { PATH: "/usr/bin:/bin", [name]: word };
  const child = spawnChild({ file: "setsid", args: ["-f", "sleep", "60"], env });
  await child.exited;
  const find = () => findByEnvironment(name, (value) => value === word);
  let found = await find();
  // Between fork and execve it has the environment of its parent, which has the variable, too.
  while (found.length === 0) found = await find();
  const [{ pid, startTime } = { pid: 0, startTime: "" }] = found;
  assert.equal(found.length, 1);
  assert.equal(startTime, String(processStartTime(pid)));
  assert.equal(await environmentOf(pid, name), word);
  assert.equal(await environmentOf(pid, "DAVIT_TEST"), undefined);
  process.kill(pid, 9);
  while ((await find()).length > 0);
});
