import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { waiterProgram } from "../../linux/process/index.ts";
import {
  execProgram,
  loggedWords,
  parseSyncMessage,
  programPath,
  runtimeFailure,
  runtimeOptions,
  runtimeWords,
} from "./runtime-command.ts";

describe("execProgram()", () => {
  const exec = { pidFile: "/run/pid", args: ["--process", "/run/spec", "id"] };

  test("lets only a crun wait for the command itself", () => {
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

describe("parseSyncMessage()", () => {
  test("reads a pid, and a failure with the runtime's words", () => {
    assert.deepEqual(parseSyncMessage('{"pid": 1234}'), { pid: 1234, message: "" });
    const line = '{"pid": -1, "message": "exec `a\\"b` failed\\n"}';
    assert.deepEqual(parseSyncMessage(line), { pid: -1, message: 'exec `a"b` failed\n' });
  });

  test("still reads the words that conmon did not escape as JSON wants it", () => {
    const line = '{"pid": -1, "message": "no \\x file: \u0001"}';
    assert.deepEqual(parseSyncMessage(line), { pid: -1, message: "no \\x file: \u0001" });
  });

  test("refuses what is no answer", () => {
    for (const line of ["", "hello", "{}", '{"pid": "1"}', '{"pid": 1.5}', "null"]) {
      assert.throws(
        () => parseSyncMessage(line),
        (error) => isKind(error, "internal"),
        line,
      );
    }
  });
});

describe("runtimeWords()", () => {
  test("takes crun's lines as they are and the messages out of runc's", () => {
    assert.equal(runtimeWords("open `x`: No such file\n"), "open `x`: No such file");
    const runc = 'time="2026-01-01T00:00:00Z" level=error msg="exec: \\"x\\": not found"\n';
    assert.equal(runtimeWords(runc), 'exec: "x": not found');
    assert.equal(runtimeWords("one\n\n two \n"), "one; two");
    assert.equal(runtimeWords(""), "");
  });

  test("leaves warnings out beside an error, and only there", () => {
    const line = (level: string, msg: string): string => `time="t" level=${level} msg="${msg}"\n`;
    const warning = line("warning", "cannot toggle freezer");
    assert.equal(runtimeWords(warning + line("error", "runc create failed")), "runc create failed");
    assert.equal(runtimeWords(warning), "cannot toggle freezer");
  });
});

test("loggedWords() takes the errors out of a runtime's log in JSON", () => {
  const line = (level: string, msg: string): string => `${JSON.stringify({ level, msg })}\n`;
  const log = line("warning", "slow") + line("error", "open `/dev/null`") + line("error", "end");
  assert.equal(loggedWords(log), "open `/dev/null`; end");
  assert.equal(loggedWords(line("warning", "slow")), "slow");
  assert.equal(loggedWords("not JSON\nnull\n"), "not JSON; null");
  assert.equal(loggedWords(""), "");
});

test("runtimeFailure() says the exit code or the signal of a runtime that said nothing", () => {
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

test("programPath() finds a program, or says what to do", () => {
  assert.match(programPath("sh"), /\/sh$/);
  assert.equal(programPath("/opt/crun"), "/opt/crun");
  assert.throws(() => programPath("no-such-runtime"), /find program "no-such-runtime".*install/);
});

test("runtimeOptions() tells a runtime of systemd where systemd made the cgroup", () => {
  assert.deepEqual(runtimeOptions("/r", "/kubepods/pod1/c1"), ["--root", "/r"]);
  const scope = "/kubepods.slice/kubepods-pod1.slice/cri-containerd-c1.scope";
  assert.deepEqual(runtimeOptions("/r", scope), ["--root", "/r", "--systemd-cgroup"]);
});
