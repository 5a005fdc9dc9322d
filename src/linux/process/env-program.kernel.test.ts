import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { envProgramPath } from "./programs.ts";
import { type RunResult, run } from "./run.ts";

const dir = mkdtempSync(join(tmpdir(), "davit-env-program-"));
after(() => {
  rmSync(dir, { recursive: true });
});

const runWith = (args: readonly string[], env: Record<string, string> = {}): Promise<RunResult> =>
  run({ file: envProgramPath(), args, env, timeoutMs: 10_000 });

async function codeOf(args: readonly string[], env?: Record<string, string>): Promise<unknown> {
  const { code, signal } = await runWith(args, env);
  return code ?? `signal ${signal}`;
}

describe("the program at envProgramPath()", () => {
  test("makes bytes of the variables that it is told, and of no other", async () => {
    const args = ["3", "A", "LONG", "ABSENT", "/usr/bin/env", "-0"];
    const long = Buffer.alloc(50_000, 0xfe);
    const { code, stdout } = await runWith(args, {
      A: "ff0a",
      LONG: long.toString("hex"),
      AA: "ff",
    });
    const lines = ["A=\xff\n", `LONG=${long.toString("latin1")}`, "AA=ff"].join("\0");
    assert.deepEqual([code, stdout.toString("latin1")], [0, `${lines}\0`]);
  });

  test("looks the command up in PATH, the current directory for an empty part", async () => {
    mkdirSync(join(dir, "bin"));
    symlinkSync("/bin/true", join(dir, "bin/a-command"));
    const PATH = `/none:${join(dir, "bin")}`;
    assert.equal(await codeOf(["0", "a-command"], { PATH }), 0);
    assert.equal(await codeOf(["0", "a-command"], { PATH: "/none" }), 127);
    assert.equal(await codeOf(["0", "a-command"]), 127);
    const here = { file: envProgramPath(), cwd: join(dir, "bin"), timeoutMs: 10_000 };
    const found = await run({ ...here, args: ["0", "a-command"], env: { PATH: "/none::/none" } });
    assert.equal(found.code, 0);
    assert.equal(await codeOf(["0", "true"], { PATH: `${"/".repeat(5000)}bin:/bin` }), 0);
    for (const length of [4088, 4089, 4095, 4096, 8192]) {
      const code = codeOf(["0", "true"], { PATH: `/bin${"/".repeat(length - 4)}` });
      assert.equal(await code, length < 4090 ? 0 : 127, `a directory of ${length} bytes`);
    }
  });

  test("says why a command cannot be run", async () => {
    const plain = join(dir, "plain");
    writeFileSync(plain, "text");
    const missing = await runWith(["0", "/none"]);
    assert.deepEqual(
      [missing.code, missing.stderr.toString()],
      [127, 'davit: run "/none": no such file or directory\n'],
    );
    const refused = await runWith(["0", plain]);
    assert.deepEqual(
      [refused.code, refused.stderr.toString()],
      [126, `davit: run "${plain}": permission denied\n`],
    );
  });

  test("refuses a number of variables that leaves no command", async () => {
    for (const count of ["2", "-1", "99999999999999999999999", "-99999999999999999999999"]) {
      assert.equal(await codeOf([count, "A", "/bin/true"]), 126, count);
    }
    assert.equal(await codeOf([]), 126);
  });
});
