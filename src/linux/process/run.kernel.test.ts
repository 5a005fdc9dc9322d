import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { openProcess } from "./process-ref.ts";
import { run } from "./run.ts";
import { childPids, openFds, until } from "../testing/leaks.ts";

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const dir = mkdtempSync(join(tmpdir(), "davit-run-"));
after(() => rmSync(dir, { recursive: true }));

const sh = (script: string) => ({ file: "sh", args: ["-c", script], env, timeoutMs: 20_000 });

/** A shell with a child in its process group; both pids are in the file when both run. */
const family = (file: string): string =>
  `sleep 60 & echo $$ $! > ${file}.new; mv ${file}.new ${file}; wait`;

async function goneAll(file: string): Promise<void> {
  const pids = readFileSync(file, "latin1").trim().split(" ").map(Number);
  assert.equal(pids.length, 2);
  for (const pid of pids) {
    await until(`process ${pid} is gone`, () => {
      using found = openProcess(pid);
      return found === undefined;
    });
  }
}

describe("run()", () => {
  test("returns exit, stdout and stderr, and writes the input", async () => {
    const input = Buffer.alloc(3_000_000, "x");
    const result = await run({ ...sh("wc -c; echo oops >&2; exit 3"), input });
    assert.deepEqual(
      { ...result, stdout: String(result.stdout), stderr: String(result.stderr) },
      { code: 3, signal: null, stdout: "3000000\n", stderr: "oops\n" },
    );
  });

  test("gives the program exactly stdin, stdout and stderr", async () => {
    const result = await run(
      sh('for f in /proc/$$/fd/*; do [ -e "$f" ] && echo "${f##*/}"; done; :'),
    );
    assert.equal(String(result.stdout), "0\n1\n2\n");
  });

  test("reports the signal that ended the program", async () => {
    const result = await run(sh("kill -9 $$"));
    assert.deepEqual([result.code, result.signal], [null, 9]);
  });

  test("keeps the first bytes of endless output and reads the rest", async () => {
    const result = await run({
      ...sh("head -c 10000000 /dev/zero; echo end >&2"),
      maxOutputBytes: 1000,
    });
    assert.equal(result.stdout.length, 1000);
    assert.equal(String(result.stderr), "end\n");
  });

  test("handles a program that ends without reading its input", async () => {
    const result = await run({ ...sh("exit 0"), input: Buffer.alloc(8_000_000) });
    assert.equal(result.code, 0);
  });

  test("kills the whole group at the timeout, and names the program", async () => {
    const file = join(dir, "timeout");
    await assert.rejects(
      run({ ...sh(family(file)), timeoutMs: 1000, killGroup: true }),
      (error) => {
        assert.ok(isKind(error, "deadline-exceeded"));
        assert.match(String(error), /run "sh": did not end within 1 s/);
        return true;
      },
    );
    await goneAll(file);
  });

  test("kills the whole group when it is aborted", async () => {
    const file = join(dir, "abort");
    const abort = new AbortController();
    const running = run({ ...sh(family(file)), killGroup: true, signal: abort.signal });
    await until("the family runs", () => existsSync(file));
    abort.abort();
    await assert.rejects(running, (error) => isKind(error, "canceled"));
    await goneAll(file);
    await assert.rejects(run({ ...sh("exit 0"), signal: abort.signal }), (error) =>
      isKind(error, "canceled"),
    );
  });

  test("returns soon after the exit although a grandchild keeps stdout open", async () => {
    const began = performance.now();
    const result = await run(sh("sleep 60 & echo $!"));
    const took = performance.now() - began;
    process.kill(Number(String(result.stdout)), 9);
    assert.equal(result.code, 0);
    assert.ok(took < 10_000, `took ${took} ms`);
  });

  test("leaves no descriptor, no process and no listener", async () => {
    const { signal } = new AbortController();
    await run(sh("exit 0"));
    const fds = [...openFds().keys()];
    await Promise.all(
      Array.from({ length: 100 }, () => run({ ...sh("cat"), input: "text", signal })),
    );
    await until("descriptors are closed", () => openFds().size <= fds.length);
    assert.deepEqual([...openFds().keys()], fds);
    assert.deepEqual(childPids(), []);
  });
});
