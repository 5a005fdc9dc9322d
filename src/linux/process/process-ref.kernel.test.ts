import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { spawnChild } from "./child.ts";
import { openProcess, processStartTime } from "./process-ref.ts";
import { firstText, openFds, until } from "../testing/leaks.ts";

const env = { PATH: "/usr/bin:/bin" };

/** A process that is not a child: its shell ends at once, so it has another parent. */
async function stranger(): Promise<number> {
  const child = spawnChild({
    file: "sh",
    args: ["-c", "sleep 60 >&- & echo $!"],
    env,
    stdout: "pipe",
  });
  let text = "";
  for await (const chunk of child.stdout ?? []) text += String(chunk);
  await child.exited;
  return Number(text);
}

describe("openProcess()", () => {
  test("kills a process that is not a child and reports its end", async () => {
    const ref = openProcess(await stranger());
    assert.ok(ref !== undefined);
    assert.equal(ref.startTime, processStartTime(ref.pid));
    ref.kill(9);
    await ref.exited;
    await until("it is gone for others, too", () => openProcess(ref.pid) === undefined);
    ref.kill(9); // no error
    ref.close();
    ref.close();
  });

  test("is undefined for another process with the pid, and without one", async () => {
    const pid = await stranger();
    const startTime = processStartTime(pid);
    assert.ok(startTime !== undefined);
    assert.equal(openProcess(pid, startTime + 1n), undefined);
    assert.equal(openProcess(2 ** 22 + 1), undefined);
    using found = openProcess(pid, startTime);
    assert.ok(found !== undefined);
    found.kill(9);
    await found.exited;
  });

  test("is undefined for a zombie", async () => {
    // The shell never waits for its first child, because it becomes another program.
    const script = "sleep 0 & echo $!; exec sleep 60";
    const child = spawnChild({ file: "sh", args: ["-c", script], env, stdout: "pipe" });
    const zombie = Number(await firstText(child.stdout));
    await until("it is a zombie", () => processStartTime(zombie) === undefined);
    assert.equal(openProcess(zombie), undefined);
    process.kill(zombie, 0); // it still has its pid
    child.kill(9);
    await child.exited;
  });

  test("leaves no descriptor after close(), before and after the end", async () => {
    const fds = openFds().size;
    const pid = await stranger();
    const refs = Array.from({ length: 50 }, () => openProcess(pid));
    for (const ref of refs.slice(1)) ref?.close();
    refs[0]?.kill(9);
    await refs[0]?.exited;
    await until("descriptors are closed", () => openFds().size <= fds);
  });
});
