import assert from "node:assert/strict";
import { test } from "node:test";

import { isKind } from "../base/errors.ts";
import { programFailure } from "./program-failure.ts";

const go = "exec failed: unable to start container process: exec: ";

test("programFailure() has the same words for crun, runc and a shim", () => {
  const missing = 'exec: "x": executable file not found in $PATH';
  const gone = 'exec: "/x": no such file or directory';
  const denied = 'exec: "/x": permission denied';
  for (const [program, message, expected] of [
    ["x", "OCI runtime exec: executable file `x` not found in $PATH: No such file", missing],
    ["x", `OCI runtime exec: ${go}"x": executable file not found in $PATH`, missing],
    [
      "x",
      `OCI runtime exec failed: ${go}"x": executable file not found in $PATH: unknown`,
      missing,
    ],
    ["/x", "executable file `/x` not found in $PATH: No such file or directory", gone],
    ["/x", "executable file `/x` not found: No such file or directory", gone],
    ["/x", `${go}"/x": stat /x: no such file or directory`, gone],
    ["/x", "OCI runtime exec: open executable: Permission denied", denied],
    ["/x", "the path `/x` exists but it is not executable: Operation not permitted", denied],
    ["/x", "the path `/x` is not a regular file: Operation not permitted", denied],
    ["/x", `${go}"/x": permission denied`, denied],
  ] as const) {
    const failure = programFailure(program, message);
    assert.equal(failure?.message, expected, message);
    assert.ok(isKind(failure, "unknown"));
  }
});

test("programFailure() is about programs only", () => {
  for (const message of [
    "OCI runtime exec: exit code 1",
    "OCI runtime exec: openat2 `proc/self/cgroup`: Permission denied",
    `${go.slice(0, -6)}chdir to cwd ("/none") set in config.json failed: no such file or directory`,
    "container does not exist",
  ]) {
    assert.equal(programFailure("x", message), undefined, message);
  }
});

test("programFailure() cuts the name of a program", () => {
  for (const name of ["x".repeat(100_000), "/x".repeat(50_000)]) {
    const failure = programFailure(name, `executable file \`${name}\` not found in $PATH`);
    assert.ok((failure ?? assert.fail()).message.length < 1000);
  }
});
