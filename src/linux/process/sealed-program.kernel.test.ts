import assert from "node:assert/strict";
import {
  copyFileSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { run } from "./run.ts";
import { execPath, holderPath, monitorPath, waiterPath } from "./programs.ts";
import {
  execProgramCopy,
  holderProgram,
  monitorProgram,
  sealedProgram,
  waiterProgram,
} from "./sealed-program.ts";

const env = { PATH: "/usr/bin:/bin" };
let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "davit-sealed-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true });
});

describe("sealedProgram()", () => {
  test("is a copy that runs and cannot be written to, the same one each time", async () => {
    const path = join(directory, "cat");
    copyFileSync("/bin/cat", path);
    const sealed = sealedProgram(path);
    assert.match(sealed, /^\/proc\/\d+\/fd\/\d+$/);
    assert.equal(sealedProgram(path), sealed);
    rmSync(path);
    const result = await run({ file: sealed, args: [], env, input: "hello", timeoutMs: 10_000 });
    assert.equal(String(result.stdout), "hello");
    assert.throws(() => writeFileSync(sealed, "x"), /EPERM|EACCES|ETXTBSY/);
  });

  test("is made again when the file has changed", async () => {
    const path = join(directory, "program");
    copyFileSync("/bin/true", path);
    const first = sealedProgram(path);
    copyFileSync("/bin/false", path);
    const second = sealedProgram(path);
    assert.notEqual(second, first);
    const codeOf = async (file: string): Promise<number | null> =>
      (await run({ file, args: [], env, timeoutMs: 10_000 })).code;
    assert.deepEqual([await codeOf(first), await codeOf(second)], [0, 1]);
  });

  test("is the file itself for a script and for a missing file", () => {
    const script = join(directory, "script");
    writeFileSync(script, "#!/bin/sh\n", { mode: 0o755 });
    assert.equal(sealedProgram(script), script);
    assert.equal(sealedProgram(join(directory, "none")), join(directory, "none"));
  });

  test("is accepted by crun as a copy of itself", async () => {
    // Otherwise it would run from its own copy, whose name it prints.
    const trace = ["-f", "-e", "trace=memfd_create,execveat", "-o", join(directory, "trace")];
    const args = [...trace, sealedProgram("/usr/bin/crun"), "--root", directory, "state", "none"];
    await run({ file: "/usr/bin/strace", args, env, timeoutMs: 20_000 });
    const calls = readFileSync(join(directory, "trace"), "utf8");
    assert.doesNotMatch(calls, /memfd_create\(|execveat\(/);
  });
});

test("davit's own programs are sealed copies", () => {
  const programs = [
    [holderPath(), holderProgram()],
    [waiterPath(), waiterProgram()],
    [monitorPath(), monitorProgram()],
  ] as const;
  for (const [path, sealed] of programs) {
    assert.deepEqual(readFileSync(sealed), readFileSync(path));
    assert.throws(() => writeFileSync(sealed, "x"), /EPERM|EACCES|ETXTBSY/, path);
  }
});

test("the program for commands stays that of this process when an upgrade replaces its file", () => {
  const first = execProgramCopy();
  assert.deepEqual(readFileSync(first), readFileSync(execPath()));
  const now = new Date();
  utimesSync(execPath(), now, now);
  assert.equal(execProgramCopy(), first);
});
