import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { waiterProgram } from "../../linux/process/index.ts";
import {
  execProgram,
  loggedMessage,
  programPath,
  runtimeFailure,
  runtimeOptions,
  runtimeMessage,
} from "./runtime-command.ts";

describe("execProgram()", () => {
  const exec = { pidFile: "/run/pid", args: ["--process", "/run/spec", "id"] };

  test("lets only crun wait for the command itself", () => {
    for (const path of ["/usr/bin/crun-wasm", "/usr/bin/krun"]) {
      assert.deepEqual(execProgram(path, ["--root", "/run/r"], exec), {
        file: path,
        args: "--root /run/r exec --pid-file /run/pid --process /run/spec id".split(" "),
      });
    }
    for (const path of ["/usr/sbin/runc", "/opt/crunch", "/opt/crun/youki"]) {
      const command = `/run/pid ${path} --root /run/r exec --detach --pid-file /run/pid --process /run/spec id`;
      assert.deepEqual(execProgram(path, ["--root", "/run/r"], exec), {
        file: waiterProgram(),
        args: command.split(" "),
      });
    }
  });
});

describe("runtimeMessage()", () => {
  test("returns the lines of crun and the messages of runc", () => {
    assert.equal(runtimeMessage("open `x`: No such file\n"), "open `x`: No such file");
    const runc = 'time="2026-01-01T00:00:00Z" level=error msg="exec: \\"x\\": not found"\n';
    assert.equal(runtimeMessage(runc), 'exec: "x": not found');
    assert.equal(runtimeMessage("one\n\n two \n"), "one; two");
    assert.equal(runtimeMessage(""), "");
  });

  test("omits warnings if there is an error, and only then", () => {
    const line = (level: string, msg: string): string => `time="t" level=${level} msg="${msg}"\n`;
    const warning = line("warning", "cannot toggle freezer");
    assert.equal(
      runtimeMessage(warning + line("error", "runc create failed")),
      "runc create failed",
    );
    assert.equal(runtimeMessage(warning), "cannot toggle freezer");
  });
});

test("loggedMessage() returns the errors in a runtime's JSON log", () => {
  const line = (level: string, msg: string): string => `${JSON.stringify({ level, msg })}\n`;
  const log = line("warning", "slow") + line("error", "open `/dev/null`") + line("error", "end");
  assert.equal(loggedMessage(log), "open `/dev/null`; end");
  assert.equal(loggedMessage(line("warning", "slow")), "slow");
  assert.equal(loggedMessage("not JSON\nnull\n"), "not JSON; null");
  assert.equal(loggedMessage(""), "");
});

test("runtimeFailure() reports the exit code or the signal of a runtime that printed nothing", () => {
  const stderr = new Uint8Array();
  assert.equal(
    runtimeFailure("start", { code: 3, signal: null, stderr }).message,
    "OCI runtime start: exit code 3",
  );
  assert.equal(
    runtimeFailure("start", { code: null, signal: 9, stderr }).message,
    "OCI runtime start: signal 9",
  );
});

test("programPath() finds a program, or reports what to do", () => {
  assert.match(programPath("sh"), /\/sh$/);
  assert.equal(programPath("/opt/crun"), "/opt/crun");
  assert.throws(() => programPath("no-such-runtime"), /find program "no-such-runtime".*install/);
});

test("runtimeOptions() passes --systemd-cgroup for a scope only", () => {
  assert.deepEqual(runtimeOptions("/r", "/kubepods/pod1/c1"), ["--root", "/r"]);
  const scope = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope";
  assert.deepEqual(runtimeOptions("/r", scope), ["--root", "/r", "--systemd-cgroup"]);
});
