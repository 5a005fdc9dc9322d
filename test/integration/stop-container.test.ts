/** StopContainer of containers and monitors that do not end easily. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { readProcesses } from "../support/snapshot/processes.ts";
import {
  containerStatus,
  EXITED,
  exec,
  exited,
  inPod,
  monitorName,
  Node,
  type Pod,
  pidOf,
  RUNNING,
  runIn,
  script,
  sh,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupDirectories,
  cgroupsOfProcess,
  cgroupsThere,
  leakless,
  NODE,
  output,
  pod,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(() => node[Symbol.asyncDispose]());

/** The monitor of a container: the parent of its process. */
async function monitorOf(id: string): Promise<number> {
  const pid = await pidOf(daemon, id);
  const processes = readProcesses();
  const parent = processes.find((each) => each.pid === processes.find((p) => p.pid === pid)?.ppid);
  assert.equal(parent?.comm, monitorName);
  return parent.pid;
}

/** True for a process that the test's script left. */
function sleeps(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("99998\0");
  } catch {
    return false;
  }
}

async function crun(...words: readonly string[]): Promise<void> {
  await output("crun", "--root", path.join(daemon.paths.state, "crun"), ...words);
}

const deaf = "trap : TERM; touch /ready; while :; do sleep 0.05; done";

async function runDeaf(inPod: Pod): Promise<string> {
  const id = await runIn(inPod, script(deaf));
  await until("it is ready", async () => (await exec(daemon, id, ["ls", "/ready"])).exitCode === 0);
  return id;
}

describe("StopContainer", () => {
  test(
    "ends a paused container, at once and after its grace period",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        for (const seconds of [0, 1]) {
          const id = await runIn(pod);
          await pidOf(daemon, id);
          await crun("pause", id);
          await stop(daemon, id, seconds);
          assert.equal((await containerStatus(daemon, id)).exitCode, 137);
        }
      }),
    ),
  );

  test(
    "ends a family that forks as fast as it can, in sessions of their own",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const loop = "setsid sh -c 'while :; do (:); done' & i=$((i+1))";
        const text = `trap : TERM; i=0; while [ $i -lt 20 ]; do ${loop}; done; touch /ready; wait; wait`;
        const id = await runIn(pod, script(text));
        await until(
          "all run",
          async () => (await exec(daemon, id, ["ls", "/ready"])).exitCode === 0,
        );
        await stop(daemon, id, 1);
        assert.equal((await containerStatus(daemon, id)).state, EXITED);
      }),
    ),
  );

  test(
    "with the longest possible grace period accepts a shorter one later",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runDeaf(pod);
        const longest = daemon.client.runtime.stopContainer({
          containerId: id,
          timeout: 2n ** 63n - 1n,
        });
        const long = stop(daemon, id, 3600);
        const gone = new AbortController();
        const request = { containerId: id, timeout: 100n };
        const left = daemon.client.runtime
          .stopContainer(request, { signal: gone.signal })
          .catch(() => undefined);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        gone.abort();
        await left;
        await stop(daemon, id, 1);
        await Promise.all([longest, long]);
        assert.equal((await containerStatus(daemon, id)).exitCode, 137);
      }),
    ),
  );

  test(
    "treats a negative grace period as 0",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runDeaf(pod);
        await stop(daemon, id, -5);
        assert.equal((await containerStatus(daemon, id)).exitCode, 137);
      }),
    ),
  );
});

describe("the end of the first process", () => {
  test(
    "ends all processes that it left in the container, also with the PIDs of the host",
    leakless(served, () =>
      inPod(daemon, pod({ pid: NODE, network: NODE }), async (inside) => {
        const text =
          "sleep 99998 & setsid sleep 99998 & (setsid sleep 99998 &) ; until [ -e /go ]; do sleep 0.05; done; exit 4";
        const id = await runIn(inside, script(text));
        const [own = ""] = cgroupsOfProcess(await pidOf(daemon, id)).filter((each) =>
          each.includes(id),
        );
        assert.deepEqual(cgroupsThere(own), cgroupDirectories(own));
        await sh(daemon, id, "touch /go");
        assert.equal((await exited(daemon, id)).exitCode, 4);
        assert.equal(
          readProcesses().some(({ pid }) => sleeps(pid)),
          false,
        );
        assert.deepEqual(cgroupsThere(own), []);
      }),
    ),
  );
});

describe("a monitor", () => {
  test(
    "that was suspended with SIGSTOP gets SIGCONT: the stop ends, with the true exit code",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(
          pod,
          script("trap 'exit 7' TERM; touch /ready; while :; do sleep 0.05; done"),
        );
        await until(
          "it is ready",
          async () => (await exec(daemon, id, ["ls", "/ready"])).exitCode === 0,
        );
        process.kill(await monitorOf(id), "SIGSTOP");
        await stop(daemon, id, 20);
        const { exitCode, reason } = await containerStatus(daemon, id);
        assert.deepEqual([exitCode, reason], [7, "Error"]);
      }),
    ),
  );

  test(
    "that is dead does not block a stop: the exit code is unknown then",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod);
        process.kill(await monitorOf(id), "SIGKILL");
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        await stop(daemon, id, 1);
        const { state, exitCode, reason } = await containerStatus(daemon, id);
        assert.deepEqual([state, exitCode, reason], [EXITED, 255, "Unknown"]);
      }),
    ),
  );

  test(
    "that was suspended does not keep StopPodSandbox from ending all containers",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const ids = [await runIn(pod), await runIn(pod)];
        for (const id of ids) process.kill(await monitorOf(id), "SIGSTOP");
        await stopPod(daemon, pod.id);
        for (const id of ids) assert.equal((await containerStatus(daemon, id)).exitCode, 137);
      }),
    ),
  );
});
