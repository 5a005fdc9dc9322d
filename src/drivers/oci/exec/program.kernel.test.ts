/** davit's own program for ExecSync (native/exec.c) in containers that want to be more than they are, and its ends. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { closeSync, constants, openSync, readFileSync, writeFileSync, writeSync } from "node:fs";
import { readlinkSync, rmSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { after, before, test } from "node:test";

import type { OciProcess, OciSpec } from "../../../core/oci/index.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import {
  execArguments,
  type ExecPlan,
  execProgramCopy,
  spawnChildInPool,
} from "../../../linux/process/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import type { OciRuntime } from "../index.ts";
import { directSpec, TestHost } from "../testing/sandbox.ts";

const forever = ["sh", "-c", "while :; do sleep 0.5; done"];

let host: TestHost;
let runtime: OciRuntime;
const steps: string[] = [];

before(async () => {
  host = await TestHost.open();
  const onStep = ({ name }: { readonly name: string }): undefined => {
    steps.push(name);
    return undefined;
  };
  runtime = await host.runtime({ onStep });
  for (const name of ["unshare", "readlink", "rm", "touch", "chmod", "chown"]) {
    symlinkSync("busybox", join(host.rootfs, "bin", name));
  }
});
after(() => host[Symbol.asyncDispose]());

async function exec(id: string, spec: OciProcess): Promise<string> {
  steps.length = 0;
  const { stdout, stderr, exitCode } = await runtime.execSync(id, spec, testOperation());
  const text = new TextDecoder();
  return `${exitCode}: ${text.decode(stdout)}${text.decode(stderr)}`;
}

/** Filters that kill a process which makes one of these calls. */
function killing(names: readonly string[]): (spec: OciSpec) => OciSpec {
  const syscalls = [{ names, action: "SCMP_ACT_KILL_PROCESS" as const }];
  const seccomp = { defaultAction: "SCMP_ACT_ALLOW" as const, syscalls };
  return (spec) => ({ ...spec, linux: { ...spec.linux, seccomp } });
}

test("a first process in a user namespace of its own gets no privileged command into it", async () => {
  const args = ["unshare", "-U", "-r", "-m", ...forever];
  // As of an image that is root's and drops that at its start: probes are still run as root.
  const user = { uid: 1000, gid: 1000 };
  const adjust = (spec: OciSpec): OciSpec => ({ ...spec, process: { ...spec.process, user } });
  const { id, process } = await host.start(runtime, { args, adjust });
  const own = (): string => readlinkSync(`/proc/${process.pid}/ns/user`);
  await until("it is in a user namespace", () => own() !== readlinkSync("/proc/self/ns/user"));
  const command = directSpec(["readlink", "/proc/self/ns/user"]);
  assert.equal(await exec(id, command), `0: ${own()}\n`);
  assert.deepEqual(steps, ["davit-exec", "OCI runtime exec"]);
  await runtime.remove(id);
});

test("a container without /dev/null does not get the node's", async () => {
  const { id } = await host.start(runtime, { args: forever });
  await exec(id, directSpec(["rm", "/dev/null"]));
  const script = "readlink /proc/self/fd/0; cat; echo $?";
  assert.match(await exec(id, directSpec(["sh", "-c", script])), /^0: pipe:\[\d+\]\n0\n$/);
  assert.deepEqual(steps, ["davit-exec"]);
  await runtime.remove(id);
});

test("a command of the runtime cannot change the node's /dev/null", async () => {
  const { id } = await host.start(runtime, { args: forever });
  const before = statSync("/dev/null");
  const script =
    "chmod 600 /proc/self/fd/0; chown 1 /proc/self/fd/0; cat; echo on > /proc/self/fd/0";
  const user = { uid: 0, gid: 5 };
  // A variable that is there twice is the runtime's.
  const command = { ...directSpec(["sh", "-c", script]), user, env: ["PATH=/bin", "A=1", "A=1"] };
  assert.match(await exec(id, command), /^0: (ch.*Read-only file system\n){2}$/);
  assert.deepEqual(steps, ["OCI runtime exec"]);
  const { uid, gid, mode } = statSync("/dev/null");
  assert.deepEqual([uid, gid, mode], [before.uid, before.gid, before.mode]);
  await runtime.remove(id);
});

test("a command has room for as many arguments as with crun", async () => {
  const { id } = await host.start(runtime, { args: forever });
  const stack = /^Max stack size +(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
  // execve(2): a quarter of the stack, and pointers count; the program's own arguments do not fit.
  const room = Math.min(Number(stack ?? Infinity) / 4, 6 * 1024 * 1024) - 600;
  const length = 100_000;
  const pads = Array.from({ length: Math.floor(room / length) }, () => "x".repeat(length - 9));
  const rest = "y".repeat(room % length);
  const command = directSpec(["sh", "-c", "echo $#", ...pads, rest]);
  assert.equal(await exec(id, command), `0: ${pads.length}\n`);
  assert.deepEqual(steps, ["davit-exec", "OCI runtime exec"]);
  await runtime.remove(id);
});

test("a filter is not asked for calls that crun does not make under it", async () => {
  const adjust = killing(["statx", "dup3", "pipe2", "openat2"]);
  const { id } = await host.start(runtime, { args: forever, adjust });
  assert.equal(await exec(id, directSpec(["true"])), "0: ");
  assert.deepEqual(steps, ["davit-exec"]);
  await runtime.remove(id);
});

test("a command whose starter is killed is not left for a second one", async () => {
  const { id, process: first } = await host.start(runtime, { args: forever });
  const init = { pid: first.pid, startTime: BigInt(first.startTime) };
  const freezerFile = join(host.directory, "thawed");
  writeFileSync(freezerFile, "0");
  // A full pipe in place of a cgroup.procs file holds the command before it is executed.
  const pipe = join(host.directory, "procs");
  execFileSync("mkfifo", [pipe]);
  const fd = openSync(pipe, constants.O_RDWR | constants.O_NONBLOCK);
  assert.throws(() => {
    for (;;) writeSync(fd, Buffer.alloc(4096));
  }, /EAGAIN/);
  const none = { bounding: 0n, effective: 0n, permitted: 0n, inheritable: 0n, ambient: 0n };
  const plan: ExecPlan = {
    ...{ init, freezerFile, filterFile: undefined, user: 0, group: 0, groups: [], umask: 0o22 },
    ...{ noNewPrivileges: false, oomScoreAdj: 0, capabilities: none, limits: [], directory: "/" },
    pidFile: join(host.directory, "command.pid"),
    cgroups: { version: "v1", procsFiles: [pipe] },
    args: ["touch", "/tmp/ran"],
  };
  const child = await spawnChildInPool({
    file: execProgramCopy(),
    name: "davit-exec",
    args: execArguments(plan),
    env: { PATH: "/bin", HOME: "/" },
    stdin: "null",
    stdout: "null",
    stderr: "null",
  });
  const children = (): readonly string[] =>
    readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, "latin1").trim().split(" ");
  await until("the command waits", () => children().length === 2);
  const inNode = readlinkSync("/proc/self/ns/pid");
  const starter = children().find((pid) => readlinkSync(`/proc/${pid}/ns/pid`) === inNode);
  process.kill(Number(starter), 9);
  const exit = await child.exited;
  closeSync(fd);
  // A declined command would be run by crun, and this one with it.
  assert.deepEqual(exit, { code: null, signal: 9 });
  assert.equal(await exec(id, directSpec(["sh", "-c", "[ ! -e /tmp/ran ]"])), "0: ");
  rmSync(pipe);
  await runtime.remove(id);
});
