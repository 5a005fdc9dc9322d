import assert from "node:assert/strict";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import { type Child, spawnChild, spawnChildInPool } from "./child.ts";
import type { SpawnOptions } from "./native.ts";
import { holderPath } from "./programs.ts";
import { SIGKILL, SIGTERM } from "./signals.ts";
import { pinNamespaces, unpinNamespace } from "../namespace/index.ts";
import { run } from "./run.ts";
import { SystemError } from "../../base/system-error.ts";
import { childPids, openFds, until } from "../testing/leaks.ts";
import { nodeProgram } from "../testing/node.ts";

const env = { PATH: "/usr/sbin:/usr/bin:/sbin:/bin" };
const dir = mkdtempSync(join(tmpdir(), "davit-child-"));
after(() => rmSync(dir, { recursive: true }));

// The children of a failed test must not disturb the next one.
afterEach(() => {
  for (const pid of childPids()) process.kill(pid, SIGKILL);
});

async function ended(child: Child): Promise<void> {
  child.kill(SIGKILL);
  await child.exited;
}

async function textOf(options: SpawnOptions): Promise<string> {
  const child = spawnChild({ ...options, stdout: "pipe" });
  let text = "";
  for await (const chunk of child.stdout ?? []) text += String(chunk);
  await child.exited;
  return text;
}

// Descriptors are checked in the holder, which opens none itself; a dynamic loader would.
describe("spawnChild()", () => {
  test("passes /dev/null by default, and nothing else", async () => {
    const child = spawnChild({ file: holderPath(), env });
    assert.deepEqual(
      [...openFds(child.pid)],
      [
        [0, "/dev/null"],
        [1, "/dev/null"],
        [2, "/dev/null"],
      ],
    );
    await ended(child);
  });

  test("passes pipes, descriptors and extra descriptors by number, and nothing else", async () => {
    const server = createServer().listen(join(dir, "socket"));
    await until("server listens", () => server.listening);
    const [a, b] = ["a", "b"].map((name) => openSync(join(dir, name), "w+"));
    assert.ok(a !== undefined && b !== undefined);
    const child = spawnChild({
      file: holderPath(),
      env,
      stdin: "pipe",
      stdout: b,
      stderr: "pipe",
      extraFds: [b, a, 0, a],
    });
    const fds = openFds(child.pid);
    assert.deepEqual([...fds.keys()], [0, 1, 2, 3, 4, 5, 6]);
    assert.match(fds.get(0) ?? "", /^pipe:/);
    assert.match(fds.get(2) ?? "", /^pipe:/);
    assert.deepEqual(
      [1, 3, 4, 6].map((fd) => fds.get(fd)),
      [join(dir, "b"), join(dir, "b"), join(dir, "a"), join(dir, "a")],
    );
    assert.equal(fds.get(5), openFds().get(0));
    await ended(child);
    closeSync(a);
    closeSync(b);
    await new Promise((resolve) => server.close(resolve));
  });

  test("passes the pipe of stdout twice", async () => {
    const child = spawnChild({
      file: "sh",
      args: ["-c", "echo three >&3; echo one"],
      env: { PATH: "/usr/bin:/bin" },
      stdout: "pipe",
      extraFds: ["stdout"],
    });
    let output = "";
    for await (const chunk of child.stdout ?? []) output += String(chunk);
    assert.equal(output, "three\none\n");
    await ended(child);
  });

  test("passes no descriptor of a parent without close-on-exec", async () => {
    const file = openSync(join(dir, "careless"), "w+");
    // The middle process gets 3 to 8 without close-on-exec, as a careless library would leave them.
    const script = `
      import { readdirSync } from "node:fs";
      import { spawnChild } from ${JSON.stringify(import.meta.resolve("./child.ts"))};
      const had = readdirSync("/proc/self/fd").length;
      const child = spawnChild({ file: ${JSON.stringify(holderPath())}, env: {} });
      console.log(had > 9, readdirSync("/proc/" + child.pid + "/fd").join());
      child.kill(9);
    `;
    const result = await textOf({
      file: nodeProgram,
      args: ["--input-type=module", "-e", script],
      env,
      extraFds: [file, file, file, file, file, file],
    });
    closeSync(file);
    assert.equal(result, "true 0,1,2\n");
  });

  test("passes only the named descriptors to the holder, in its own PID namespace and the pod's other namespaces", async () => {
    const pins = { net: join(dir, "net"), ipc: join(dir, "ipc"), uts: join(dir, "uts") };
    await pinNamespaces({ ...pins, hostname: "pod" });
    const child = spawnChild({
      file: holderPath(),
      env: {},
      newSession: true,
      newPidNamespace: true,
      joinNamespaces: [pins.net, pins.ipc, pins.uts],
    });
    try {
      assert.deepEqual([...openFds(child.pid).keys()], [0, 1, 2]);
      for (const kind of ["pid", "net", "ipc", "uts"]) {
        assert.notEqual(
          readlinkSync(`/proc/${child.pid}/ns/${kind}`),
          readlinkSync(`/proc/self/ns/${kind}`),
          kind,
        );
      }
      for (const kind of ["mnt", "user"]) {
        assert.equal(
          readlinkSync(`/proc/${child.pid}/ns/${kind}`),
          readlinkSync(`/proc/self/ns/${kind}`),
          kind,
        );
      }
      const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
      assert.match(status, new RegExp(`NSpid:\t${child.pid}\t1\n`));
      assert.match(status, new RegExp(`NSsid:\t${child.pid}\t1\n`));
      // Until it has blocked the signals that it waits for, PID 1 drops a SIGTERM.
      await until("the holder waits", () =>
        /^SigBlk:\t[0-9a-f]*[1-9a-f]/m.test(readFileSync(`/proc/${child.pid}/status`, "utf8")),
      );
      child.kill(SIGTERM);
      assert.deepEqual(await child.exited, { code: 0, signal: null });
    } finally {
      for (const path of Object.values(pins)) await unpinNamespace(path);
    }
  });

  test("gives the holder's orphans a parent that reaps them", async () => {
    const child = spawnChild({ file: holderPath(), env: {}, newPidNamespace: true });
    // The subshell ends before its child, which becomes a child of PID 1. A zombie would stay listed,
    // so the loop ends only when the holder has reaped it.
    const script = `
      mount -t proc proc ${dir} || exit
      orphan=$(sh -c 'sleep 60 >&- & echo $!')
      until grep -q "^PPid:.1$" ${dir}/$orphan/status; do :; done
      echo adopted; kill -9 $orphan
      while [ -e ${dir}/$orphan ]; do :; done
      echo reaped; umount ${dir}`;
    try {
      const result = await run({
        file: "nsenter",
        args: [`--pid=/proc/${child.pid}/ns/pid`, "sh", "-c", script],
        env,
        timeoutMs: 10_000,
        killGroup: true,
      });
      assert.equal(String(result.stdout), "adopted\nreaped\n", String(result.stderr));
    } finally {
      await ended(child);
    }
  });

  test("starts with default signals although Node.js ignores SIGPIPE", async () => {
    const status = await textOf({ file: "cat", args: ["/proc/self/status"], env });
    assert.deepEqual(status.match(/(?<=^Sig(Blk|Ign|Cgt):\t).*/gm), [
      "0".repeat(16),
      "0".repeat(16),
      "0".repeat(16),
    ]);
  });

  test("has exactly the given environment, directory and session", async () => {
    const script = "pwd; env | sort; ps -o sid= -p $$";
    const child = { file: "sh", args: ["-c", script], env: { ...env, B: "2" }, cwd: dir };
    const [cwd, ...rest] = (await textOf({ ...child, newSession: true })).trim().split("\n");
    assert.equal(cwd, dir);
    assert.deepEqual(
      rest.slice(0, -1).filter((line) => !/^(_|PWD|OLDPWD|SHLVL)=/.test(line)),
      ["B=2", `PATH=${env.PATH}`],
    );
    assert.notEqual(Number(rest.at(-1)), 0);
  });

  test("reports exit code and signal", async () => {
    const code = spawnChild({ file: "sh", args: ["-c", "exit 7"], env });
    assert.deepEqual(await code.exited, { code: 7, signal: null });
    const killed = spawnChild({ file: "sleep", args: ["60"], env });
    killed.kill(SIGTERM);
    assert.deepEqual(await killed.exited, { code: null, signal: SIGTERM });
    killed.kill(SIGKILL); // it has ended: no error, and no other process gets the signal
  });

  test("names the file or namespace of a failure, and leaves nothing", async () => {
    const plain = join(dir, "plain");
    writeFileSync(plain, "no program", { mode: 0o644 });
    writeFileSync(join(dir, "program"), "no program", { mode: 0o755 });
    const fds = [...openFds().keys()];
    const cases: [Partial<SpawnOptions>, string, RegExp][] = [
      [{ file: join(dir, "none") }, "not-found", /execve ".*none".*ENOENT/],
      [{ file: plain }, "permission-denied", /execve ".*plain".*EACCES/],
      [{ file: join(dir, "program") }, "internal", /execve ".*program".*ENOEXEC/],
      [{ file: "no-such-program" }, "not-found", /no such program on PATH/],
      [{ cwd: join(dir, "none") }, "not-found", /chdir ".*none"/],
      [{ joinNamespaces: [join(dir, "none")] }, "not-found", /open namespace ".*none"/],
      [{ joinNamespaces: [plain] }, "invalid-argument", /setns ".*plain"/],
      [{ cgroupProcsPaths: ["/nowhere/cgroup.procs"] }, "not-found", /open cgroup "\/nowhere/],
      [{ extraFds: [9999] }, "internal", /EBADF/],
      [{ extraFds: [-2] }, "invalid-argument", /-2/],
      [{ args: ["a\0b"] }, "invalid-argument", /NUL/],
    ];
    for (const [options, kind, message] of cases) {
      const all = { file: "/bin/true", env, stdin: "pipe", stdout: "pipe", ...options } as const;
      const wanted = (error: unknown): boolean => {
        assert.ok(error instanceof RuntimeError);
        assert.equal(error.kind, kind, error.message);
        assert.match(error.message, message);
        return true;
      };
      assert.throws(() => spawnChild(all), wanted);
      await assert.rejects(spawnChildInPool(all), wanted);
    }
    assert.throws(() => spawnChild({ file: "/nowhere", env }), SystemError);
    assert.deepEqual(childPids(), []);
    assert.deepEqual([...openFds().keys()], fds);
  });

  test("handles a child that ends without reading its input", async () => {
    const child = spawnChild({ file: "true", env, stdin: "pipe" });
    child.stdin?.write(Buffer.alloc(4 * 1024 * 1024));
    assert.deepEqual(await child.exited, { code: 0, signal: null });
    child.stdin?.write(Buffer.alloc(1024));
    await until("the pipe is closed", () => child.stdin?.destroyed === true);
  });

  test("leaves no descriptor and no zombie after 500 children in sequence and 500 concurrent ones", async () => {
    const fds = [...openFds().keys()];
    for (let i = 0; i < 500; i++) {
      const child = spawnChild({ file: "/bin/true", env });
      assert.deepEqual(await child.exited, { code: 0, signal: null });
    }
    const children = Array.from({ length: 500 }, (_, i) => {
      const options = { file: "sh", args: ["-c", `exit ${i % 200}`], env, stdout: "pipe" } as const;
      return i % 2 === 0 ? spawnChild(options) : spawnChildInPool(options);
    });
    for (const [i, starting] of children.entries()) {
      const child = await starting;
      child.stdout?.resume();
      assert.deepEqual(await child.exited, { code: i % 200, signal: null });
      child.stdout?.destroy();
    }
    await until("descriptors are closed", () => openFds().size <= fds.length);
    assert.deepEqual([...openFds().keys()], fds);
    assert.deepEqual(childPids(), []);
  });

  test("is refused in a worker thread, whose event loop could not end", async () => {
    const { Worker } = await import("node:worker_threads");
    const code = `
      import { parentPort } from "node:worker_threads";
      import { spawnChild } from ${JSON.stringify(import.meta.resolve("./child.ts"))};
      try { spawnChild({ file: "/bin/true", env: {} }); } catch (e) { parentPort.postMessage(e.kind); }
    `;
    const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`));
    const [message] = await Promise.all([
      new Promise((resolve) => worker.once("message", resolve)),
      new Promise((resolve) => worker.once("exit", resolve)),
    ]);
    assert.equal(message, "unimplemented");
    assert.deepEqual(childPids(), []);
  });
});

test("holderPath() is a small static program", () => {
  const program = readFileSync(holderPath());
  assert.ok(program.length < 16_384, `${program.length} bytes`);
  assert.equal(program.includes("ld-linux"), false);
});
