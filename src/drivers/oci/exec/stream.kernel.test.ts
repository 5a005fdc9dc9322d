import assert from "node:assert/strict";
import { once } from "node:events";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import { systemClock } from "../../../base/time.ts";
import { noFaults, Operations } from "../../../core/operation/index.ts";
import type { ClientStreams, ExecEnd } from "../../../core/streaming/index.ts";
import { cgroupProcs } from "../../../linux/cgroup/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import type { OciRuntime } from "../index.ts";
import { TestClient } from "../../../core/streaming/testing/test-client.ts";
import { directSpec, holdings, processSpec, TestHost } from "../testing/sandbox.ts";
import { patient } from "../../../../test/support/patience.ts";

const operations = new Operations({ faults: noFaults, clock: systemClock });
const never = new AbortController().signal;

let host: TestHost;
let runtime: OciRuntime;
let id = "";

let specOf: typeof processSpec = processSpec;
const steps: string[] = [];
const onStep = ({ name }: { readonly name: string }): undefined => {
  steps.push(name);
  return undefined;
};

/** crun waits for the command itself, runc does not: see execProgram(). */
for (const way of ["crun", "runc", "davit"]) {
  const runtimePath = way === "davit" ? "crun" : way;
  describe(way === "davit" ? "davit's own program" : way, () => {
    before(async () => {
      host = await TestHost.open();
      specOf = way === "davit" ? directSpec : processSpec;
      runtime = await host.runtime({ exec: way === "davit" ? "davit" : "runtime", onStep });
      const args = ["sh", "-c", "while :; do sleep 0.5; done"];
      id = (await host.start(runtime, { args, runtimePath })).id;
    });
    after(async () => {
      await runtime.remove(id);
      host.assertGone(id);
      await host[Symbol.asyncDispose]();
    });
    describe("OciRuntime.exec()", () => {
      testExec(runtimePath);
      if (way === "davit") testOwnProgram();
    });
    if (way !== "davit") describe("OciRuntime.exec() with a terminal", testTerminal);
  });
}

const exec = (
  args: readonly string[],
  streams: ClientStreams,
  options: {
    readonly terminal?: boolean;
    readonly signal?: AbortSignal;
    readonly id?: string;
  } = {},
): Promise<ExecEnd> => {
  const { terminal = false, signal = never } = options;
  const plan = { name: "exec", subject: id, timeoutMs: 60_000, log: silentLogger } as const;
  return operations.run(plan, async (under) => {
    using _client = under.follow(signal);
    const spec = specOf(args, terminal);
    return await runtime.exec(options.id ?? id, spec, { streams, terminal }, under);
  });
};
/** Sends a pipe instead of a terminal. */
const oddRuntime = `#!/bin/sh
case " $* " in *" exec "*) ;; *) exec crun "$@" ;; esac
exec python3 - "$@" <<'end'
import array, os, socket, subprocess, sys
value = lambda name: sys.argv[sys.argv.index(name) + 1]
ours, theirs = os.pipe()
command = subprocess.Popen(["sh", "-c", "sleep 0.2; exit 3"])
open(value("--pid-file"), "w").write(str(command.pid))
console = socket.socket(socket.AF_UNIX)
console.connect(value("--console-socket"))
os.write(theirs, b"said")
console.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [ours]))])
end
`;
/** Ends between writing its pid file and renaming it, as a runc that is killed. */
const endingRuntime = `#!/bin/sh
case " $* " in *" exec "*) ;; *) exec crun "$@" ;; esac
while [ "$1" != --pid-file ]; do shift; done
echo 1 > "$(dirname "$2")/.$(basename "$2")"
exit 1
`;
const sh = (script: string): readonly string[] => ["sh", "-c", script];

/** The processes of the container but its own: PID 1 and the sleep that it waits for. */
const others = async (): Promise<readonly string[]> => {
  const pids = await cgroupProcs(host.cgroups, host.cgroupPath(id));
  return pids
    .map(commandLine)
    .filter((line) => line !== "" && !/^sleep 0\.5|^sh -c while :/.test(line));
};
const assertNothingLeft = async (): Promise<void> => {
  const deadline = performance.now() + patient(5_000);
  while ((await others()).length > 0 && performance.now() < deadline);
  assert.deepEqual(await others(), []);
  assert.deepEqual(readdirSync(join(host.state, "execs")), []);
  assert.deepEqual(readdirSync(join(host.state, "consoles")), []);
};

/** Calls `use` with a container whose runtime is the script `text`. */
async function withRuntime(text: string, use: (id: string) => Promise<void>): Promise<void> {
  const runtimePath = join(host.directory, "runtime");
  writeFileSync(runtimePath, text, { mode: 0o755 });
  const container = await host.start(runtime, { args: ["sleep", "1000"], runtimePath });
  await use(container.id);
  await runtime.remove(container.id);
  host.assertGone(container.id);
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}

/** The bytes of all write calls of these processes (proc_pid_io(5)); `undefined` once one of them has ended. */
function bytesWritten(pids: readonly number[]): number | undefined {
  try {
    return pids
      .map((pid) => /^wchar: (\d+)$/m.exec(readFileSync(`/proc/${pid}/io`, "latin1"))?.[1])
      .reduce((sum, bytes) => sum + Number(bytes), 0);
  } catch {
    return undefined;
  }
}

function testExec(runtimePath: string): void {
  test("carries three streams and the exit code", async () => {
    const client = new TestClient();
    client.stdin.end("typed");
    const end = await exec(sh("cat; echo err >&2; exit 7"), client.streams());
    assert.deepEqual([end.exitCode, client.stdout.text, client.stderr.text], [7, "typed", "err\n"]);
    assert.ok(client.stdout.writableFinished && client.stderr.writableFinished);
    await assertNothingLeft();
  });

  test("gives no stdin, and drops output, if the client does not have these streams", async () => {
    const client = new TestClient();
    const script = "cat; dd if=/dev/zero bs=1000000 count=1; echo err >&2; exit 3";
    const end = await exec(sh(script), client.streams("stderr"));
    assert.equal(end.exitCode, 3);
    assert.match(client.stderr.text, /err\n$/);
  });

  test("fails with the runtime's message for a command that cannot be started, and sends the client nothing", async () => {
    for (const terminal of [false, true]) {
      const client = new TestClient();
      const streams = terminal ? client.streams("stdout") : client.streams();
      for (const [program, failure] of [
        [
          "none",
          /\(stage start-process, \d+ ms\): exec: "none": executable file not found in \$PATH$/,
        ],
        ["/none", /\(stage start-process, \d+ ms\): exec: "\/none": no such file or directory$/],
        ["/proc/version", /: exec: "\/proc\/version": permission denied$/],
      ] as const) {
        await assert.rejects(exec([program], streams, { terminal }), failure);
      }
      assert.deepEqual([client.stdout.text, client.stderr.text], ["", ""]);
    }
    await assertNothingLeft();
  });

  test("sends a huge output to a slow client completely, and buffers little of it", async () => {
    const client = new TestClient();
    client.stdout.paceMs = 1;
    client.stdout.keeps = false;
    const script = "dd if=/dev/zero bs=65536 count=1600 2>/dev/null; exit 4";
    const ended = exec(sh(script), client.streams("stdout"));
    await once(client.stdout, "taken");
    const all = await cgroupProcs(host.cgroups, host.cgroupPath(id));
    // The shell writes nothing; busybox' dd has the arguments of its shell.
    const writers = all.filter((pid) => commandLine(pid).includes("dd if=/dev/zero"));
    // What is between the command and the client, in the pipe as well.
    const buffered: number[] = [];
    client.stdout.on("taken", () => {
      const written = bytesWritten(writers);
      if (written !== undefined) buffered.push(written - client.stdout.bytes);
    });
    assert.equal((await ended).exitCode, 4);
    assert.equal(client.stdout.bytes, 65536 * 1600);
    assert.ok(buffered.length > 100, `${buffered.length} samples`);
    assert.ok(Math.max(...buffered) < 1024 * 1024, `${Math.max(...buffered)} bytes`);
  });

  test("carries a huge input to a slow command, and drops one that it does not read", async () => {
    const client = new TestClient();
    client.stdin.end(Buffer.alloc(3_000_000, "x"));
    await exec(sh("sleep 0.2; dd bs=1000 2>/dev/null | tail -c 3"), client.streams());
    assert.equal(client.stdout.text, "xxx");
    const other = new TestClient();
    other.stdin.end(Buffer.alloc(3_000_000, "x"));
    const end = await exec(sh("exec <&-; sleep 0.1; exit 5"), other.streams());
    assert.equal(end.exitCode, 5);
  });

  test("ends with the command though a grandchild has its output open, or fills it", async () => {
    for (const script of [
      "sleep 30 & echo started",
      "setsid sh -c 'while :; do echo y; done' & echo started",
    ]) {
      const client = new TestClient();
      const end = await exec(sh(script), client.streams());
      assert.equal(end.exitCode, 0);
      assert.match(client.stdout.text, /started\n/);
      for (const pid of await cgroupProcs(host.cgroups, host.cgroupPath(id))) {
        if (/^sleep 30|echo y/.test(commandLine(pid))) process.kill(pid, 9);
      }
    }
    await assertNothingLeft();
  });

  for (const [what, script] of Object.entries({
    "a command": "sleep 31",
    "one that ignores SIGHUP": "trap '' HUP; echo on; while :; do sleep 32; done",
    "one with children in the background": "sleep 33 & sh -c 'sleep 34; true' & wait",
  })) {
    test(`ends ${what} when the client goes away`, async () => {
      for (const terminal of [false, true]) {
        const gone = new AbortController();
        const client = new TestClient();
        const streams = terminal ? client.streams("stdin", "stdout") : client.streams();
        const options = { terminal, signal: gone.signal };
        const end = exec(sh(`echo begun; ${script}`), streams, options);
        await client.stdout.has("begun");
        gone.abort(new Error("the client went away"));
        await assert.rejects(end, /went away/);
        await assertNothingLeft();
      }
    });
  }

  test("gives a shell the time to end by itself when the client goes away", async () => {
    const gone = new AbortController();
    const client = new TestClient();
    const script = "trap 'echo saved > /tmp/history; exit' HUP; sleep 1000 & echo on; wait";
    const end = exec(sh(script), client.streams(), { signal: gone.signal });
    await client.stdout.has("on");
    gone.abort(new Error("the client went away"));
    await assert.rejects(end, /went away/);
    const reader = new TestClient();
    await exec(["cat", "/tmp/history"], reader.streams("stdout"));
    assert.equal(reader.stdout.text, "saved\n");
  });

  test("leaves nothing at any moment at which the client goes away", async () => {
    const holding = holdings();
    for (const ms of [0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20]) {
      for (const terminal of [false, true]) {
        const gone = new AbortController();
        const client = new TestClient();
        const streams = client.streams("stdin", "stdout");
        const end = exec(["sleep", "35"], streams, { terminal, signal: gone.signal });
        setTimeout(() => {
          gone.abort(new Error("the client went away"));
        }, ms);
        await assert.rejects(end, /went away/);
      }
    }
    await assertNothingLeft();
    await until("there are as many descriptors as before", () => holdings().fds <= holding.fds);
    assert.equal(holdings().children, holding.children);
  });

  test("leaves no pid file of a runtime that ended before it renamed it", () =>
    withRuntime(endingRuntime, async (ending) => {
      const client = new TestClient();
      await assert.rejects(exec(["true"], client.streams("stdout"), { id: ending }));
      await assertNothingLeft();
    }));

  test("ends with its container", async () => {
    for (const terminal of [false, true]) {
      const { id: short } = await host.start(runtime, { args: ["sleep", "1000"], runtimePath });
      const client = new TestClient();
      const options = { id: short, terminal };
      const end = exec(sh("echo on; sleep 36"), client.streams("stdout"), options);
      await client.stdout.has("on");
      await runtime.kill(short, 9);
      assert.equal((await end).exitCode, 137);
      await runtime.remove(short);
      host.assertGone(short);
    }
  });

  test("leaves descriptors, processes and files as they were, a hundred times each", async () => {
    const once = async (terminal: boolean): Promise<void> => {
      const client = new TestClient();
      const streams = terminal ? client.streams("stdin", "stdout") : client.streams();
      assert.equal((await exec(sh("echo x"), streams, { terminal })).exitCode, 0);
      assert.match(client.stdout.text, /^x\r?\n$/);
    };
    await once(true);
    const holding = holdings();
    for (let round = 0; round < 100; round++) {
      await once(false);
      await once(true);
    }
    await Promise.all(Array.from({ length: 20 }, (_, n) => once(n % 2 === 0)));
    await until("there are as many descriptors as before", () => holdings().fds <= holding.fds);
    assert.equal(holdings().children, holding.children);
    await assertNothingLeft();
  });
}

function testOwnProgram(): void {
  test("runs commands, and not the runtime", async () => {
    const client = new TestClient();
    client.stdin.end("typed");
    steps.length = 0;
    await exec(["cat"], client.streams());
    assert.deepEqual([client.stdout.text, steps], ["typed", ["davit-exec"]]);
  });

  test("leaves the input and the signals of a command that it declines to the runtime's", async () => {
    const client = new TestClient();
    client.stdin.write("typed\n");
    async function* signals(): AsyncGenerator<number> {
      await client.stdout.has("typed");
      yield 10;
    }
    const script = "trap 'exit 5' USR1; read x; echo $x; while :; do sleep 0.02; done";
    steps.length = 0;
    // It does not know where a relative path leads.
    const relative = ["bin/sh", "-c", script];
    const end = await exec(relative, { ...client.streams(), signals: signals() });
    assert.deepEqual([end.exitCode, client.stdout.text], [5, "typed\n"]);
    assert.equal(steps.length, 2, steps.join());
  });
}

function testTerminal(): void {
  const terminal = true;

  test("has the client's size before the command begins, and follows it", async () => {
    const client = new TestClient();
    client.resize({ width: 99, height: 33 });
    const script =
      'sleep 0.1; stty size; echo up; while :; do s=$(stty size); [ "$s" = "$o" ] || echo $s; o=$s; sleep 0.02; done';
    const gone = new AbortController();
    const streams = client.streams("stdin", "stdout");
    const end = exec(sh(script), streams, { terminal, signal: gone.signal });
    await client.stdout.has("33 99\r\nup");
    client.resize({ width: 120, height: 40 });
    await client.stdout.has("40 120\r\n");
    client.resize({ width: -1, height: 1e9 });
    client.resize({ width: 80, height: 24 });
    await client.stdout.has("24 80\r\n");
    gone.abort(new Error("done"));
    await assert.rejects(end, /done/);
  });

  test("echoes input, handles control characters, and returns the exit code", async () => {
    const client = new TestClient();
    const end = exec(sh("cat; echo end; exit 9"), client.streams("stdin", "stdout"), { terminal });
    client.stdin.write("hello\n");
    await client.stdout.has("hello\r\nhello\r\n");
    client.stdin.write("\u0004");
    assert.equal((await end).exitCode, 9);
    assert.match(client.stdout.text, /end\r\n$/);
    const other = new TestClient();
    const interrupted = exec(sh("echo on; sleep 37"), other.streams("stdin", "stdout"), {
      terminal,
    });
    await other.stdout.has("on");
    other.stdin.write("\u0003");
    assert.equal((await interrupted).exitCode, 130);
  });

  test("accepts a terminal that cannot be resized", () =>
    withRuntime(oddRuntime, async (odd) => {
      const client = new TestClient();
      client.resize({ width: 80, height: 24 });
      const end = exec(["true"], client.streams("stdout"), { terminal, id: odd });
      assert.deepEqual([(await end).exitCode, client.stdout.text], [3, "said"]);
    }));

  test("sends a huge output completely", async () => {
    const client = new TestClient();
    const end = await exec(["seq", "1", "200000"], client.streams("stdout"), { terminal });
    assert.equal(end.exitCode, 0);
    const lines = Array.from({ length: 200_000 }, (_, n) => `${n + 1}\r\n`).join("");
    assert.equal(client.stdout.text, lines);
  });
}
