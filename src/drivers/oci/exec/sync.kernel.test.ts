import assert from "node:assert/strict";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { isKind } from "../../../base/errors.ts";
import { silentLogger } from "../../../base/logger.ts";
import { systemClock } from "../../../base/time.ts";
import type { ExecResult } from "../../../core/container/index.ts";
import { noFaults, Operations } from "../../../core/operation/index.ts";
import {
  type CgroupLayout,
  cgroupDirs,
  cgroupProcs,
  detectCgroups,
  removeCgroup,
} from "../../../linux/cgroup/index.ts";
import type { OciProcess } from "../../../core/oci/index.ts";
import { testOperation } from "../../../core/operation/testing/operation.ts";
import { run } from "../../../linux/process/index.ts";
import { unmount } from "../../../linux/mount/index.ts";
import { until } from "../../../linux/testing/leaks.ts";
import type { OciRuntime } from "../index.ts";
import { directSpec, holdings, processSpec, TestHost } from "../testing/sandbox.ts";
import { patient } from "../../../../test/support/patience.ts";

const MiB = 1024 * 1024;
const operations = new Operations({ faults: noFaults, clock: systemClock });

const detected = detectCgroups();

for (const way of ["davit", "runtime"] as const) {
  describe(`OciRuntime.execSync() by ${way} on this host's cgroup ${detected.version}`, () => {
    suite(way, detected.version, () => Promise.resolve(detected));
  });
}

// On a v1 host the v2 tree has no controllers, and these tests need none. It is mounted where OCI runtimes
// expect it, in the mount namespace that the test runner makes for each file.
const isolated = process.env["DAVIT_TEST_NAMESPACE"] !== undefined;
const root = "/sys/fs/cgroup";
const skip =
  detected.version === "v2"
    ? "it is what this host has"
    : !isolated && "no mount namespace of its own: run npm test";
describe("OciRuntime.execSync() on cgroup v2", { skip }, () => {
  before(async () => {
    const args = ["-t", "cgroup2", "cgroup2", root];
    const env = { PATH: "/usr/bin:/bin" };
    assert.equal((await run({ file: "mount", args, env, timeoutMs: 5_000 })).code, 0);
  });
  for (const way of ["davit", "runtime"] as const) {
    describe(`by ${way}`, () => {
      suite(way, "v2", () => Promise.resolve({ version: "v2", root, controllers: [] }));
    });
  }
  after(async () => {
    await unmount(root);
  });
});

function suite(
  way: "davit" | "runtime",
  version: CgroupLayout["version"],
  cgroups: () => Promise<CgroupLayout>,
): void {
  const steps: string[] = [];
  const specOf = way === "davit" ? directSpec : processSpec;
  let host: TestHost;
  let runtime: OciRuntime;
  let id = "";

  before(async () => {
    host = await TestHost.open(await cgroups());
    const onStep = ({ name }: { readonly name: string }): undefined => {
      steps.push(name);
      return undefined;
    };
    runtime = await host.runtime({ exec: way, onStep });
    // Its PID 1 reaps orphans.
    const args = ["sh", "-c", "while :; do sleep 0.5; done"];
    id = (await host.start(runtime, { args })).id;
  });

  after(async () => {
    await runtime.remove(id);
    host.assertGone(id);
    await host[Symbol.asyncDispose]();
  });

  const exec = (
    args: readonly string[],
    options: {
      readonly timeoutMs?: number;
      readonly signal?: AbortSignal;
      readonly id?: string;
    } = {},
  ): Promise<ExecResult> =>
    operations.run(
      {
        name: "exec-sync",
        subject: options.id ?? id,
        timeoutMs: options.timeoutMs ?? 30_000,
        log: silentLogger,
      },
      async (under) => {
        using _caller = options.signal === undefined ? undefined : under.follow(options.signal);
        return await runtime.execSync(options.id ?? id, specOf(args), under);
      },
    );

  /** The processes of the container but its own: PID 1 and the sleep that it waits for. */
  const others = async (of = id): Promise<readonly string[]> => {
    const pids = await cgroupProcs(host.cgroups, host.cgroupPath(of));
    return pids
      .map(commandLine)
      .filter((line) => line !== "" && !/^sleep 0\.5|^sh -c while/.test(line));
  };

  const execGroups = (): readonly string[] =>
    cgroupDirs(host.cgroups, host.cgroupPath(id)).flatMap((dir) =>
      readdirSync(dir).filter((name) => name.startsWith("exec-")),
    );

  const assertNothingLeft = async (): Promise<void> => {
    const deadline = performance.now() + patient(5_000);
    while ((await others()).length > 0 && performance.now() < deadline);
    assert.deepEqual(await others(), []);
    assert.deepEqual(readdirSync(join(host.state, "execs")), []);
    assert.deepEqual(execGroups(), []);
  };

  test("returns exit code and both streams", async () => {
    steps.length = 0;
    for (const exitCode of [0, 1, 125, 126, 127, 255]) {
      const script = `echo out; echo err >&2; exit ${String(exitCode)}`;
      const result = await exec(["sh", "-c", script]);
      assert.equal(result.exitCode, exitCode);
      assert.equal(text(result.stdout), "out\n");
      assert.equal(text(result.stderr), "err\n");
    }
    assert.deepEqual(
      [...new Set(steps)],
      [way === "davit" ? "davit-exec" : "OCI runtime exec"],
      "what has run them",
    );
    await assertNothingLeft();
  });

  test("gives end of file for stdin, and 128 and the signal of a killed command", async () => {
    assert.equal((await exec(["cat"])).exitCode, 0);
    assert.equal((await exec(["sh", "-c", "kill -9 $$"])).exitCode, 137);
    await assertNothingLeft();
  });

  test("fails with the OCI runtime's message when the command cannot be started", async () => {
    for (const [program, why] of [
      ["no-such-command", "executable file not found in $PATH"],
      ["/no/such", "no such file or directory"],
      ["/bin", "permission denied"],
      ["/proc/version", "permission denied"],
    ] as const) {
      await assert.rejects(exec([program]), (error: Error) => {
        assert.match(error.message, /\(stage start-process, \d+ ms\): exec: /);
        assert.ok(error.message.endsWith(`: exec: "${program}": ${why}`), error.message);
        return true;
      });
    }
    const wrong: unknown = { ...specOf(["true"]), args: 1 };
    await assert.rejects(runtime.execSync(id, wrong as OciProcess, testOperation()), /exec/);
    await assert.rejects(exec(["true"], { id: "0".repeat(64) }), (e) => isKind(e, "not-found"));
    await assertNothingLeft();
  });

  test("keeps 16 MiB of each stream and reads the rest", async () => {
    const script = "dd if=/dev/zero bs=1M count=20; dd if=/dev/zero bs=1M count=17 >&2; exit 3";
    const result = await exec(["sh", "-c", script]);
    assert.equal(result.exitCode, 3);
    assert.equal(result.stdout.length, 16 * MiB);
    assert.equal(result.stderr.length, 16 * MiB);
  });

  test("loses nothing of an output that is written just before the end", async () => {
    const lines = Array.from({ length: 20_000 }, (_, n) => `${String(n + 1)}\n`).join("");
    for (let round = 0; round < 10; round++) {
      assert.equal(text((await exec(["seq", "1", "20000"])).stdout), lines);
    }
  });

  test("answers at the command's end though a grandchild has its output open", async () => {
    const begun = performance.now();
    const result = await exec(["sh", "-c", "sleep 30 & echo started"]);
    assert.ok(performance.now() - begun < 10_000);
    assert.deepEqual([result.exitCode, text(result.stdout)], [0, "started\n"]);
    assert.deepEqual(await others(), ["sleep 30"], "the background process continues");
    const [pid] = (await cgroupProcs(host.cgroups, host.cgroupPath(id))).filter(
      (other) => commandLine(other) === "sleep 30",
    );
    process.kill(Number(pid), 9);
    await until("it is gone", () => commandLine(Number(pid)) === "");
    // On v2 the cgroup of a command that left processes stays until the container ends.
    for (const name of execGroups()) {
      await removeCgroup(host.cgroups, `${host.cgroupPath(id)}/${name}`);
    }
    await assertNothingLeft();
  });

  test("answers at the timeout and ends the command with its grandchildren", async () => {
    const holding = holdings();
    const script = "setsid sleep 31 & sh -c 'setsid sh -c \"sleep 32; true\"' & sleep 33";
    const begun = performance.now();
    await assert.rejects(exec(["sh", "-c", script], { timeoutMs: 300 }), (error) => {
      return isKind(error, "deadline-exceeded") && /took longer than 0\.3 s/.test(String(error));
    });
    assert.ok(performance.now() - begun < patient(5_000));
    await assertNothingLeft();
    assert.deepEqual(holdings(), holding);
  });

  test("leaves nothing at any moment of a timeout or of a caller that goes away", async () => {
    const holding = holdings();
    for (const ms of [0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20]) {
      await assert.rejects(exec(["sleep", "34"], { timeoutMs: ms }), (error) =>
        isKind(error, "deadline-exceeded"),
      );
      const gone = new AbortController();
      const answer = exec(["sleep", "35"], { signal: gone.signal });
      setTimeout(() => {
        gone.abort(new Error("the caller went away"));
      }, ms);
      await assert.rejects(answer, /went away/);
    }
    await assertNothingLeft();
    assert.deepEqual(holdings(), holding);
  });

  test("answers at the command's end in a container on the host's PID namespace", async () => {
    const args = ["sh", "-c", "while :; do sleep 0.5; done"];
    const { id: hostPids } = await host.start(runtime, { args, hostPids: true });
    const begun = performance.now();
    const result = await exec(["sh", "-c", "sleep 36 & exit 4"], { id: hostPids });
    assert.equal(result.exitCode, 4);
    assert.ok(performance.now() - begun < 10_000);
    await runtime.remove(hostPids);
    host.assertGone(hostPids);
  });

  test("leaves descriptors, processes and files as they were, five hundred times", async () => {
    await exec(["true"]);
    const holding = holdings();
    for (let round = 0; round < 500; round++) {
      assert.equal((await exec(["true"])).exitCode, 0);
    }
    assert.deepEqual(holdings(), holding);
    await assertNothingLeft();
  });

  test("runs many at once", async () => {
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, n) => exec(["sh", "-c", `echo ${String(n)}`])),
    );
    assert.deepEqual(
      results.map(({ stdout }) => text(stdout)),
      results.map((_, n) => `${String(n)}\n`),
    );
    await assertNothingLeft();
  });

  test("ends with the container", async () => {
    const { id: short } = await host.start(runtime, { args: ["sleep", "1000"] });
    const answer = exec(["sh", "-c", "echo on; sleep 37"], { id: short });
    await until("the command runs", () =>
      readdirSync(join(host.state, "execs")).some((name) => name.endsWith(".pid")),
    );
    await runtime.kill(short, 9);
    assert.equal((await answer).exitCode, 137);
    await runtime.remove(short);
    host.assertGone(short);
  });

  test("reports that the container ended before the command began", async () => {
    const { id: short } = await host.start(runtime, { args: ["sleep", "1000"] });
    const execs = Array.from({ length: 8 }, () => exec(["true"], { id: short }));
    const answers = Promise.allSettled(execs);
    await runtime.killAll(short);
    for (const answer of await answers) {
      // The command may have ended before the kill.
      if (answer.status === "fulfilled") assert.ok([0, 137].includes(answer.value.exitCode));
      else assert.ok(isKind(answer.reason, "failed-precondition"), String(answer.reason));
    }
    await runtime.remove(short);
    host.assertGone(short);
  });

  test("is swept when the daemon died meanwhile, but never by another's pid", async () => {
    const running = exec(["sleep", "38"]).then(
      ({ exitCode }) => `exit code ${String(exitCode)}`,
      String,
    );
    const execs = join(host.state, "execs");
    const pidFile = (): string | undefined =>
      readdirSync(execs).find((name) => name.endsWith(".pid"));
    await until("the command runs", () => pidFile() !== undefined);
    await until("its pid is written", () => {
      return readFileSync(join(execs, pidFile() ?? ""), "latin1") !== "";
    });
    writeFileSync(join(execs, `${id}-0a.pid`), String(process.pid));
    await host.runtime();
    // The daemon still runs here and observes the end. It may get an exit code or an error.
    assert.match(await running, /exit code 137$/);
    await assertNothingLeft();
  });

  if (version === "v2") {
    test("ends at the timeout what has left its parent and its session", async () => {
      const script = "(setsid sleep 40 &); (setsid sleep 41 &); sleep 42";
      const answer = exec(["sh", "-c", script], { timeoutMs: 300 });
      await assert.rejects(answer, /took longer than 0\.3 s/);
      await assertNothingLeft();
    });
  }

  test("does not keep a container from ending with all it has", async () => {
    const args = ["sh", "-c", "sleep 1000 & exec sleep 1000"];
    const { id: other } = await host.start(runtime, { args });
    await runtime.killAll(other);
    const exit = await runtime.wait(other, AbortSignal.timeout(20_000));
    assert.deepEqual([exit.exitCode, exit.unknown, exit.oomKilled], [137, false, false]);
    await runtime.remove(other);
    host.assertGone(other);
  });
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

/** Empty for a process that is gone, or a zombie. */
function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1").replaceAll("\0", " ").trim();
  } catch {
    return "";
  }
}
