/** ExecSync: its answers, their timing, and that it leaves nothing. */
// variants: shim, runc, untuned
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import {
  closePod,
  countDescriptors,
  createIn,
  exec,
  inPod,
  Node,
  openPod,
  pidOf,
  remove,
  runIn,
  script,
  sh,
  stop,
  type Pod,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupsOfProcess,
  code,
  failsWith,
  leakless,
  until,
} from "../support/suites/pods.ts";
import { patient } from "../support/patience.ts";
import { readProcesses } from "../support/snapshot/processes.ts";

let node: Node;
let daemon: TestDaemon;
let pod: Pod;
let id = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  pod = await openPod(daemon, bare());
  // A shell, because the first process must reap orphans.
  const envs = [{ key: "ASKED", value: Buffer.from("for") }];
  id = await runIn(pod, script("while :; do sleep 100000; done", { envs }));
  // The container's own processes must run before a test counts processes.
  await pidOf(daemon, id);
  await until("the container's own sleep runs", () => readProcesses().some(isOwnSleep));
});
after(async () => {
  await closePod(pod);
  await node[Symbol.asyncDispose]();
});

function isOwnSleep({ pid }: { readonly pid: number }): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8") === ["sleep", "100000", ""].join("\0");
  } catch {
    return false; // It has ended.
  }
}

/** The commands that run in the container, beside its own. */
function others(cgroups: readonly string[]): readonly string[] {
  return readProcesses()
    .filter(({ pid }) => isIn(pid, cgroups))
    .map(({ pid }) => readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " "))
    .filter((args) => !args.includes("sleep 100000"));
}

/** On v2 a command has a cgroup of its own, in the container's. */
function isIn(pid: number, cgroups: readonly string[]): boolean {
  try {
    return cgroupsOfProcess(pid).every((path, index) =>
      `${path}/`.startsWith(`${cgroups[index] ?? ""}/`),
    );
  } catch {
    return false; // It has ended.
  }
}

describe("ExecSync", () => {
  test(
    "truncates output that is too large for an answer",
    leakless(served, async () => {
      const long = "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 3";
      const { stdout, stderr, exitCode } = await exec(daemon, id, ["sh", "-c", long]);
      assert.equal(exitCode, 3);
      const limit = 16 * 1024 * 1024;
      assert.ok(stdout.length + stderr.length <= limit);
      assert.ok(stdout.length > limit / 2 - 100 && stderr.length > limit / 2 - 100);
    }),
  );

  test(
    "returns stdout, stderr and exit code",
    leakless(served, async () => {
      const said = await exec(daemon, id, ["sh", "-c", "echo out; echo err >&2; exit 7"]);
      assert.deepEqual(said, { stdout: "out\n", stderr: "err\n", exitCode: 7 });
      const silent = await exec(daemon, id, ["true"]);
      assert.deepEqual(silent, { stdout: "", stderr: "", exitCode: 0 });
      const killed = await exec(daemon, id, ["sh", "-c", "kill -9 $$"]);
      assert.equal(killed.exitCode, 137);
    }),
  );

  test(
    "runs with the container's environment, directory and user, in its cgroups",
    leakless(served, async () => {
      const text = await sh(
        daemon,
        id,
        "echo $FROM_IMAGE $ASKED; pwd; id -u; cat /proc/self/cgroup",
      );
      const [env, directory, uid, ...cgroups] = text.split("\n");
      assert.deepEqual([env, directory, uid], ["yes for", "/", "0"]);
      const own = cgroupsOfProcess(await pidOf(daemon, id));
      const seen = cgroups.map((line) => line.split(":").slice(2).join(":"));
      // On v2 the container has a cgroup namespace, whose root is its own cgroup.
      if (own.length > 1) assert.deepEqual(seen, own);
      else assert.match(seen.join(), /^\/exec-[^/]+$/);
    }),
  );

  test(
    "passes any bytes unchanged, also a megabyte of them",
    leakless(served, async () => {
      const bytes = await daemon.client.runtime.execSync({
        containerId: id,
        cmd: ["printf", "\\000\\377\\n"],
      });
      assert.deepEqual([...bytes.stdout], [0, 255, 10]);
      const text = "dd if=/dev/zero bs=1024 count=1024 2>/dev/null";
      assert.equal((await exec(daemon, id, ["sh", "-c", text])).stdout.length, 1 << 20);
    }),
  );

  test(
    "answers a command that cannot be run with an error that names it",
    leakless(served, async () => {
      await assert.rejects(
        exec(daemon, id, ["/no/such"]),
        /\(stage start-process, \d+ ms\): .*exec: "\/no\/such": no such file or directory/,
      );
      await assert.rejects(exec(daemon, id, []), failsWith(code.invalidArgument));
    }),
  );

  test(
    "requires a running container",
    leakless(served, () =>
      inPod(daemon, bare(), async (own) => {
        const other = await createIn(own);
        await assert.rejects(exec(daemon, other, ["true"]), failsWith(code.failedPrecondition));
        await daemon.client.runtime.startContainer({ containerId: other });
        await exec(daemon, other, ["true"]);
        await stop(daemon, other);
        await assert.rejects(exec(daemon, other, ["true"]), failsWith(code.failedPrecondition));
        await remove(daemon, other);
        await assert.rejects(exec(daemon, other, ["true"]), failsWith(code.notFound));
      }),
    ),
  );

  test(
    "ends when its container does",
    leakless(served, () =>
      inPod(daemon, bare(), async (own) => {
        const other = await runIn(own);
        const call = exec(daemon, other, ["sh", "-c", "touch /begun; sleep 1000"], 0);
        const end = call.then(
          ({ exitCode }) => exitCode,
          () => -1,
        );
        await until("it runs", async () => {
          return (await exec(daemon, other, ["test", "-e", "/begun"])).exitCode === 0;
        });
        await stop(daemon, other);
        assert.notEqual(await end, 0);
      }),
    ),
  );
});

describe("ExecSync with a timeout", () => {
  const cases = {
    "a command that sleeps": "sleep 1000",
    "one that ignores TERM": "trap '' TERM HUP INT; while :; do sleep 1; done",
    "one with children, some in sessions of their own": "sleep 1001 & setsid sleep 1002 & wait",
  };
  for (const [what, text] of Object.entries(cases)) {
    test(
      `of ${what} answers DeadlineExceeded at once, and its processes are gone`,
      leakless(served, async () => {
        const cgroups = cgroupsOfProcess(await pidOf(daemon, id));
        const begin = performance.now();
        await assert.rejects(
          exec(daemon, id, ["sh", "-c", text], 1),
          failsWith(code.deadlineExceeded),
        );
        const took = performance.now() - begin;
        assert.ok(took >= 1000 && took < patient(3000), `it took ${took} ms`);
        await until("its processes are gone", () => others(cgroups).length === 0, 3000);
        await sh(daemon, id, "true");
      }),
    );
  }

  test(
    "does not affect a command that ends in time, nor the container",
    leakless(served, async () => {
      assert.equal((await exec(daemon, id, ["sleep", "0.2"], 10)).exitCode, 0);
      const pid = await pidOf(daemon, id);
      await assert.rejects(
        exec(daemon, id, ["sleep", "1003"], 1),
        failsWith(code.deadlineExceeded),
      );
      assert.equal(await pidOf(daemon, id), pid);
    }),
  );

  test(
    "of the caller ends the command, too",
    leakless(served, async () => {
      const cgroups = cgroupsOfProcess(await pidOf(daemon, id));
      const request = { containerId: id, cmd: ["sleep", "1004"] };
      const call = daemon.client.runtime.execSync(request, { timeoutMs: 1000 });
      await assert.rejects(call, failsWith(code.deadlineExceeded));
      await until("its processes are gone", () => others(cgroups).length === 0, 5000);
    }),
  );
});

test(
  "a background process that holds stdout does not delay the answer",
  leakless(served, () =>
    inPod(daemon, bare(), async (own) => {
      const other = await runIn(own, script("while :; do sleep 100000; done"));
      const begin = performance.now();
      const said = await exec(daemon, other, ["sh", "-c", "sleep 1005 & echo done"], 60);
      assert.deepEqual(said, { stdout: "done\n", stderr: "", exitCode: 0 });
      assert.ok(performance.now() - begin < patient(5000));
    }),
  ),
);

test(
  "a hundred in a row, and twenty at once, leave no descriptor and no process",
  leakless(served, async () => {
    const open = (): number => countDescriptors(daemon);
    const run = async (n: number): Promise<void> => {
      const said = await exec(daemon, id, ["echo", String(n)]);
      assert.deepEqual(said, { stdout: `${n}\n`, stderr: "", exitCode: 0 });
    };
    await run(0);
    const before = open();
    for (let n = 0; n < 100; n++) await run(n);
    await Promise.all(Array.from({ length: 20 }, (_, n) => run(n)));
    await until("its descriptors are as many as before", () => open() <= before);
  }),
);

test(
  "commands run in a container whose process is a busy script",
  leakless(served, () =>
    inPod(daemon, bare(), async (own) => {
      const other = await runIn(own, script("while :; do echo x >> /f; usleep 1000; done"));
      await until(
        "it writes",
        async () => Number(await sh(daemon, other, "wc -l < /f || true")) > 5,
      );
    }),
  ),
);
