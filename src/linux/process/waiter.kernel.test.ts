import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { spawnChild } from "./child.ts";
import { waiterPath } from "./programs.ts";

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const dir = mkdtempSync(join(tmpdir(), "davit-waiter-"));
after(() => {
  rmSync(dir, { recursive: true });
});

/** The exit code of the waiter for a program that leaves a process; $1 is the file for the pid. */
async function codeOf(script: string, program = "/bin/sh"): Promise<number | null> {
  const pidFile = join(dir, "pid");
  rmSync(pidFile, { force: true });
  const args = [pidFile, program, "-c", script, "sh", pidFile];
  return (await spawnChild({ file: waiterPath(), args, env }).exited).code;
}
/** A process that runs this after its shell has ended, because a shell reaps earlier ends. */
const leave = (then: string): string =>
  `export parent=$$; sh -c 'while kill -0 $parent 2>/dev/null; do sleep 0.01; done; ${then}' & echo $! > $1`;

describe("the program at waiterPath()", () => {
  test("ends like the process that was left behind", async () => {
    assert.equal(await codeOf(leave("exit 7")), 7);
    assert.equal(await codeOf(leave("kill -15 $$")), 128 + 15);
    assert.equal(await codeOf(`(${leave("exit 9")})`), 9, "two levels below");
  });

  test("reports the end of a process that ended before its program", async () => {
    const script =
      "import os, sys\nchild = os.fork()\nif child == 0: os._exit(6)\n" +
      "open(sys.argv[2], 'w').write(str(child))\nos.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)";
    assert.equal(await codeOf(script, "/usr/bin/python3"), 6);
  });

  test("waits for no other process", async () => {
    assert.equal(await codeOf(`sleep 100 & echo $! > $1.other; ${leave("exit 4")}`), 4);
    const other = Number(readFileSync(join(dir, "pid.other"), "utf8"));
    assert.ok(existsSync(`/proc/${other}`));
    process.kill(other, 9);
  });

  test("ends with a program that leaves no process", async () => {
    const run = (script: string) => {
      const args = ["-", "/bin/sh", "-c", script, "sh", dir];
      return spawnChild({ file: waiterPath(), args, env });
    };
    const codes = [(await run("exit 3").exited).code, (await run("exit 0").exited).code];
    assert.deepEqual(codes, [3, 0]);
    const shell = (script: string): void => {
      execFileSync("/bin/sh", ["-c", script, "sh", dir], { timeout: 10_000 });
    };
    shell("mkfifo $1/started $1/go $1/done");
    const waiter = run("echo > $1/started; read line < $1/go; echo > $1/done");
    shell("read line < $1/started");
    waiter.kill(9);
    assert.equal((await waiter.exited).signal, 9);
    shell("echo > $1/go; read line < $1/done");
  });

  test("ends like a program that fails, and reports a missing one", async () => {
    assert.equal(await codeOf("exit 5"), 5);
    assert.equal(await codeOf(`${leave("exit 8")}; kill -9 $$`), 128 + 9);
    assert.equal(await codeOf("exit 0"), 126);
    assert.equal(await codeOf(`echo ${"9".repeat(30)} > $1`), 126);
    assert.equal(await codeOf("", join(dir, "none")), 127);
  });
});
