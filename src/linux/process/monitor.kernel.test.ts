import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, test } from "node:test";

import { mountTmpfs, unmount } from "../mount/index.ts";
import { openFds, until } from "../testing/leaks.ts";
import { ask, Monitored } from "../testing/monitored.ts";
import { processStartTime } from "./process-ref.ts";

const isSanitized = process.env["DAVIT_SANITIZED_REPORTS"] !== undefined;

/** A field of /proc/PID/status. */
function statusOf(pid: number, field: string): string {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return new RegExp(`^${field}:\\s*(.*)$`, "m").exec(text)?.[1] ?? assert.fail(field);
}

/** Whether it has taken its last step before it serves. A sanitized one has no filter of system calls. */
function isConfined(pid: number): boolean {
  return isSanitized ? statusOf(pid, "NoNewPrivs") === "1" : statusOf(pid, "Seccomp") === "2";
}

/** KiB of memory that belongs to a process alone. */
function privateKib(pid: number): number {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Private_Dirty:\s*(\d+) kB$/m.exec(text)?.[1]);
}

describe("davit-monitor", () => {
  test("reports the pid, and writes the exit code as a shell has it", async () => {
    for (const [script, code] of [
      ["exit 7", "7"],
      ["exit 0", "0"],
      ["kill -9 $$", "137"],
      ["kill -15 $$", "143"],
      ["sleep 0.2; exit 255", "255"],
    ] as const) {
      using monitored = new Monitored(script);
      const answer = await monitored.answer;
      assert.equal(answer, `created ${monitored.pid}\n`);
      assert.equal(await monitored.exitCode(), code, script);
      assert.deepEqual(await monitored.child.exited, { code: 0, signal: null });
      assert.deepEqual(readdirSync(monitored.exits), ["c1"]);
    }
  });

  test("reports an OCI runtime that fails, with what it wrote", async () => {
    const failing = async (script: string, flags: readonly string[] = []): Promise<string> => {
      using monitored = new Monitored("", { flags, command: ["/bin/sh", "-c", script] });
      const answer = await monitored.answer;
      assert.deepEqual(await monitored.child.exited, { code: 1, signal: null });
      assert.ok(!existsSync(monitored.path("attach")) && !existsSync(monitored.path("console")));
      assert.deepEqual(readdirSync(monitored.exits), []);
      return answer;
    };
    assert.equal(await failing("echo no cgroup >&2; exit 3"), "failed 3\nno cgroup\n");
    assert.equal(await failing("kill -9 $$"), "failed 137\n");
    assert.equal(await failing("exit 0"), "failed pid\n");
    assert.equal(await failing("echo $PPID >pid; echo why >&2"), "failed pid\nwhy\n");
    assert.equal(await failing("echo 99999999999999999999 >pid"), "failed pid\n");
    assert.equal(
      await failing("sleep 100 & echo $! >pid; kill $!; exit 4", ["--terminal"]),
      "failed 4\n",
    );
    // 107 is ENOTCONN: there was no connection.
    assert.equal(
      await failing("echo >&2 none; true & echo $! >pid", ["--terminal"]),
      "failed console 107\nnone\n",
    );
    const long = await failing("head -c 300000 /dev/zero | tr '\\0' x >&2; exit 1");
    assert.equal(long, `failed 1\n${"x".repeat(4096)}`);
  });

  test("reports its own steps that fail, by number", async () => {
    const answerOf = async (
      flags: readonly string[],
      command: readonly string[],
      prepare?: (bundle: string) => void,
    ): Promise<string> => {
      using monitored = new Monitored("", { flags, command });
      prepare?.(monitored.bundle);
      return await monitored.answer;
    };
    assert.equal(await answerOf([], ["/no/program"]), "failed exec 2\n");
    assert.equal(await answerOf([], ["/etc/passwd"]), "failed exec 13\n");
    assert.equal(await answerOf(["--log-max", "1x"], ["/bin/true"]), "failed arguments 22\n");
    assert.equal(await answerOf(["--other"], ["/bin/true"]), "failed arguments 22\n");
    assert.equal(await answerOf([], []), "failed arguments 22\n");
    using reading = new Monitored("true", { log: "log" });
    await reading.answer;
    const { spawnChild } = await import("./child.ts");
    const { monitorPath } = await import("./programs.ts");
    // A log that is open for reading, and one that writes would replace.
    for (const mode of ["r", "r+"]) {
      const fd = openSync(reading.path("log"), mode);
      const child = spawnChild({
        file: monitorPath(),
        args: ["--cid", "c2", "--exit-dir", reading.exits, "--", "/bin/true"],
        ...{ env: {}, cwd: reading.bundle, stdin: fd, stdout: "pipe" },
      });
      closeSync(fd);
      let text = "";
      for await (const chunk of child.stdout ?? []) text += String(chunk);
      assert.equal(text, "failed log 22\n");
      await child.exited;
    }
    using blocked = new Monitored("true");
    await blocked.exitCode();
    rmSync(blocked.path("attach"));
    mkdirSync(blocked.path("attach"));
    const child = spawnChild({
      file: monitorPath(),
      args: ["--cid", "c2", "--exit-dir", blocked.exits, "--", "/bin/true"],
      ...{ env: {}, cwd: blocked.bundle, stdin: "null", stdout: "pipe" },
    });
    let text = "";
    for await (const chunk of child.stdout ?? []) text += String(chunk);
    assert.equal(text, "failed attach 98\n");
    await child.exited;
  });

  test("takes an OCI runtime that has not answered with it when it is killed", async () => {
    using monitored = new Monitored("", {
      command: ["/bin/sh", "-c", "echo $$ >pid; exec sleep 100"],
    });
    await monitored.untilIn("pid", "\n");
    const { pid } = monitored;
    const startTime = processStartTime(pid);
    monitored.child.kill(9);
    assert.equal(await monitored.answer, "");
    await until("the runtime has ended", () => processStartTime(pid) !== startTime);
  });

  test("is not ended by signals, and leaves none of them blocked in the container", async () => {
    using monitored = await Monitored.start("exec sleep 100");
    const { pid } = monitored.child;
    for (const signal of [1, 2, 3, 10, 13, 15, 17]) process.kill(pid, signal);
    using client = disposable(monitored.connect("c"));
    assert.equal(await ask(client.stream, "stat"), "ok 0 0");
    // Shells block signals while they fork.
    await until("the program runs", () => statusOf(monitored.pid, "Name") === "sleep");
    assert.equal(statusOf(monitored.pid, "SigBlk"), "0000000000000000");
    // A shell ignores INT and QUIT for what it runs in the background.
    assert.equal(statusOf(monitored.pid, "SigIgn"), "0000000000000006");
    process.kill(monitored.pid, 15);
    assert.equal(await monitored.exitCode(), "143");
  });

  test("reaps the orphans of its container", async () => {
    using monitored = await Monitored.start(
      "for n in 1 2 3 4 5 6 7 8; do (sleep 0.1 & ) ; done; echo > ready; exec sleep 100",
    );
    await until("orphans are left", () => existsSync(monitored.path("ready")));
    const childrenOf = (pid: number): string =>
      readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
    await until("all are reaped", () => childrenOf(monitored.child.pid) === String(monitored.pid));
  });

  test("gives up what it does not need, and keeps no other descriptor", async () => {
    using monitored = await Monitored.start("exec sleep 100", { log: "log", flags: ["--stdin"] });
    const { pid } = monitored.child;
    await until("it is confined", () => isConfined(pid));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"])
      assert.match(statusOf(pid, set), /^0+$/, set);
    assert.equal(statusOf(pid, "NoNewPrivs"), "1");
    assert.equal(statusOf(pid, "Uid"), "0\t0\t0\t0");
    assert.equal(readFileSync(`/proc/${pid}/comm`, "utf8"), "davit-monitor\n");
    // What the container has is the daemon's.
    const own = readFileSync("/proc/self/oom_score_adj", "utf8");
    const mayProtect = (BigInt(`0x${statusOf(process.pid, "CapEff")}`) >> 24n) & 1n; // CAP_SYS_RESOURCE
    assert.equal(readFileSync(`/proc/${pid}/oom_score_adj`, "utf8"), mayProtect ? "-1000\n" : own);
    assert.equal(readFileSync(`/proc/${monitored.pid}/oom_score_adj`, "utf8"), own);
    assert.equal(statusOf(monitored.pid, "Seccomp"), statusOf(process.pid, "Seccomp"));
    assert.equal(statusOf(monitored.pid, "CapEff"), statusOf(process.pid, "CapEff"));
    const kinds = [...openFds(pid).values()].map((target) => target.replace(/:\[\d+\]$/, ""));
    const expected = [
      monitored.path("log"),
      "/dev/null",
      "anon_inode:[signalfd]",
      "pipe",
      "pipe",
      "pipe",
      "socket",
    ];
    assert.deepEqual(kinds.sort(), expected.sort());
    assert.equal(statSync(monitored.path("attach")).mode & 0o777, 0o600);
    // The shells between the runtime and the container have others.
    await until("it is the container's command", () => statusOf(monitored.pid, "Name") === "sleep");
    assert.deepEqual([...openFds(monitored.pid).keys()].sort(), [0, 1, 2]);
  });

  test("lets another user open the standard streams by name", async () => {
    using monitored = await Monitored.start(
      `setpriv --reuid 1000 --clear-groups sh -c 'echo named >/dev/stdout; echo err >/dev/stderr'; exit 3`,
      { log: "log" },
    );
    assert.equal(await monitored.exitCode(), "3");
    assert.match(monitored.read("log"), / stdout F named\n.* stderr F err\n/s);
  });

  test("writes the exit code when its directory has room again", async () => {
    using monitored = new Monitored("", { command: ["/bin/true"] });
    await monitored.answer;
    const exits = monitored.path("small");
    mkdirSync(exits);
    await mountTmpfs(exits, { sizeBytes: 16 * 1024, mode: 0o700 });
    try {
      using other = await Monitored.start("read line; exit 6", { exits, flags: ["--stdin-once"] });
      assert.throws(() => writeFileSync(join(exits, "full"), Buffer.alloc(100_000)), /ENOSPC/);
      const client = other.connect("i");
      client.end();
      await until("the container has ended", () => processStartTime(other.pid) === undefined);
      await delay(300);
      assert.deepEqual(readdirSync(exits), ["full"]);
      rmSync(join(exits, "full"));
      assert.equal(await other.exitCode(), "6");
      client.destroy();
    } finally {
      await unmount(exits);
    }
  });

  test("marks a container of which the kernel killed a process for memory", async () => {
    using bundle = new Monitored("", { command: ["/bin/true"] });
    const events = bundle.path("memory.events");
    const eventsOf = (kills: number): string =>
      `low 0\nhigh 0\nmax 7\noom 3\noom_kill ${kills}\noom_group_kill 0\n`;
    for (const [kills, isMarked] of [
      [0, false],
      [1, true],
      [20, true],
    ] as const) {
      writeFileSync(events, eventsOf(0));
      const flags = ["--memory-events", events];
      using monitored = await Monitored.start("exec sleep 100", { flags });
      await until("it is confined", () => isConfined(monitored.child.pid));
      assert.ok([...openFds(monitored.child.pid).values()].includes(events));
      writeFileSync(events, eventsOf(kills));
      process.kill(monitored.pid, 9);
      assert.match(await monitored.exitCode(), /^\d+$/);
      assert.equal(existsSync(monitored.path("oom")), isMarked, String(kills));
    }
    using gone = await Monitored.start("exit 5", { flags: ["--memory-events", "/missing"] });
    assert.equal(await gone.exitCode(), "5");
    assert.equal(existsSync(gone.path("oom")), false);
  });

  test("has little memory of its own, also after much output", {
    skip: isSanitized && "a sanitizer has memory of its own",
  }, async (t) => {
    using monitored = await Monitored.start(
      "head -c 20000000 /dev/zero | tr '\\0' 'x' ; echo done; exec sleep 100",
      { log: "log", flags: ["--stdin"] },
    );
    const { pid } = monitored.child;
    await monitored.untilIn("log", "done\n");
    await until("memory was given back", () => privateKib(pid) < 60);
    const used = privateKib(pid);
    using quiet = await Monitored.start("exec sleep 100", { log: "log" });
    await until("it is confined", () => isConfined(quiet.child.pid));
    const idle = privateKib(quiet.child.pid);
    t.diagnostic(`private memory: ${idle} KiB idle, ${used} KiB after 20 MB of output`);
    assert.ok(idle < 60, `${idle} KiB`);
  });
});

function disposable<T extends { destroy(): unknown }>(
  stream: T,
): Disposable & { readonly stream: T } {
  return { stream, [Symbol.dispose]: () => void stream.destroy() };
}
