/** Pause and Resume: of containers and pods, and what the other verbs do with what is paused. */
// variants: shim, runc
import assert from "node:assert/strict";
import { readFileSync, renameSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { TestDaemon } from "../support/daemon.ts";
import { noStuckDisk, StuckDisk } from "../support/stuck-disk.ts";
import {
  byShim,
  closePod,
  container,
  containerInfo,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  inPod,
  logLines,
  Node,
  openPod,
  type Pod,
  pidOf,
  remove,
  RUNNING,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  cgroupValue,
  code,
  failsWith,
  freeze,
  isFrozen,
  launchDaemon,
  leakless,
  leaklessAcross,
  NOTREADY,
  parentOf,
  pod as podOf,
  removePod,
  statusOf,
  stopPod,
  until,
} from "../support/suites/pods.ts";
import { openAttach, openExec } from "../support/suites/streams.ts";

let node: Node;
let daemon: TestDaemon;
let logs = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  logs = path.join(daemon.paths.directory, "logs");
  // The bridge of its network stays.
  await closePod(await openPod(daemon, podOf()));
});
after(() => node[Symbol.asyncDispose]());

const paused = /it is paused; resume it with "davit resume [0-9a-f]{64}"$/;
/** Ends with 5 at SIGTERM, and counts in a file and in its log. */
const counter =
  "trap 'exit 5' TERM; i=0; while :; do i=$((i+1)); echo $i >/count; echo line $i; sleep 0.02; done";

const pause = (id: string, reclaimMemory = false) =>
  daemon.client.checkpoints.pause({ id, reclaimMemory });
const resume = (id: string) => daemon.client.checkpoints.resume({ id });

/** Whether the kernel has frozen a container. */
const frozen = ({ config }: Pod, id: string): boolean => isFrozen(`${parentOf(config)}/${id}`);

/** Runs a container that counts, and waits until it does. */
async function runCounter(
  pod: Pod,
): Promise<{ readonly id: string; readonly count: () => number }> {
  const id = await runIn(pod, script(counter));
  const file = `/proc/${await pidOf(daemon, id)}/root/count`;
  const count = (): number => {
    try {
      return Number(readFileSync(file, "utf8"));
    } catch {
      return 0;
    }
  };
  await until("it counts", () => count() > 0);
  return { id, count };
}

async function counts(count: () => number): Promise<void> {
  const now = count();
  await until("it counts on", () => count() > now + 1);
}

describe("Pause of a container", () => {
  test(
    "freezes it until it is resumed; both may be repeated, and its status tells",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const { id, count } = await runCounter(pod);
        for (let twice = 0; twice < 2; twice++) {
          const answer = await pause(id.slice(0, 13));
          assert.deepEqual(answer.containerIds, [id]);
          assert.ok(frozen(pod, id));
          const { state, reason, message } = await containerStatus(daemon, id);
          assert.deepEqual([state, reason], [RUNNING, "Paused"]);
          assert.match(message, /^paused at 20.*Z; resume it with "davit resume [0-9a-f]{64}"$/);
          const { paused: isPaused, pausedAt } = await containerInfo(daemon, id);
          assert.equal(isPaused, true);
          assert.match(String(pausedAt), /^\d{19}$/);
        }
        for (let twice = 0; twice < 2; twice++) {
          assert.deepEqual((await resume(id)).containerIds, [id]);
          assert.ok(!frozen(pod, id));
          await counts(count);
          assert.equal((await containerStatus(daemon, id)).reason, "");
        }
      }),
    ),
  );

  test(
    "freezes one that has just been started, whose first process may be in the middle of its execve",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        for (let times = 0; times < 10; times++) {
          const id = await runIn(pod);
          await pause(id);
          assert.ok(frozen(pod, id));
          await remove(daemon, id);
        }
      }),
    ),
  );

  test(
    "is refused for one that does not run, and for memory where the kernel cannot reclaim it",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const created = await createIn(pod);
        await assert.rejects(pause(created), failsWith(code.failedPrecondition, /it is created/));
        await assert.rejects(pause(pod.id), failsWith(code.failedPrecondition, /no container of/));
        await assert.rejects(pause("ffffffffff"), failsWith(code.notFound, /"ffffffffff"/));
        await assert.rejects(pause(""), failsWith(code.invalidArgument));
        const { id, count } = await runCounter(pod);
        const reclaims = ((): boolean => {
          try {
            return cgroupValue(`${parentOf(pod.config)}/${id}`, "memory.reclaim") === "";
          } catch (error) {
            // The file cannot be read, only written.
            return (error as NodeJS.ErrnoException).code === "EINVAL";
          }
        })();
        if (reclaims) {
          const { reclaimedBytes } = await pause(id, true);
          assert.ok(frozen(pod, id) && reclaimedBytes >= 0n);
          await resume(id);
        } else {
          await assert.rejects(pause(id, true), failsWith(code.failedPrecondition, /cgroup v2/));
        }
        assert.ok(!frozen(pod, id));
        await counts(count);
      }),
    ),
  );
});

test(
  "Pause of a pod names a process that hangs in the kernel, and pauses no container",
  { skip: byShim ? "a shim reports what its runtime does" : noStuckDisk },
  leakless(served, async () => {
    await using disk = await StuckDisk.mount();
    await inPod(daemon, bare(), async (pod) => {
      const before = await runCounter(pod);
      const mounts = [{ containerPath: "/disk", hostPath: disk.directory }];
      const stuck = await runIn(pod, script("cat /disk/hang & wait; sleep 100000", { mounts }));
      await until("a process hangs", () => disk.hanging > 0);
      const last = await runCounter(pod);
      const named = /not frozen after \d+ ms: process \d+ \("cat"\) in state D/;
      await assert.rejects(pause(pod.id), failsWith(code.deadlineExceeded, named));
      await assert.rejects(pause(stuck), failsWith(code.deadlineExceeded, named));
      assert.ok([before.id, stuck, last.id].every((id) => !frozen(pod, id)));
      assert.equal((await containerStatus(daemon, before.id)).reason, "");
      await counts(before.count);
      await counts(last.count);
      await disk.release();
      await pause(pod.id);
      assert.ok(frozen(pod, stuck));
    });
  }),
);

test(
  "Pause of a pod freezes all of its running containers, and one that is started afterwards runs",
  leakless(served, () =>
    inPod(daemon, podOf(), async (pod) => {
      const counters = [await runCounter(pod), await runCounter(pod)];
      const created = await createIn(pod, script(counter));
      const ids = counters.map(({ id }) => id).toSorted();
      assert.deepEqual((await pause(pod.id)).containerIds, ids);
      assert.ok(ids.every((id) => frozen(pod, id)));
      await start(daemon, created);
      assert.ok(!frozen(pod, created));
      assert.equal((await exec(daemon, created, ["true"])).exitCode, 0);
      assert.deepEqual((await pause(pod.id)).containerIds, [...ids, created].toSorted());
      assert.deepEqual((await resume(pod.id)).containerIds, [...ids, created].toSorted());
      await Promise.all(counters.map(({ count }) => counts(count)));
    }),
  ),
);

describe("A paused container", () => {
  test(
    "runs no command: ExecSync and Exec fail at once",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const { id } = await runCounter(pod);
        await pause(id);
        const refused = failsWith(code.failedPrecondition, paused);
        await assert.rejects(exec(daemon, id, ["true"]), refused);
        await assert.rejects(openExec(daemon, id, ["true"]), refused);
        await resume(id);
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
      }),
    ),
  );

  test(
    "keeps a command that runs already frozen; ExecSync ends at its timeout, and the command after the resume",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const { id } = await runCounter(pod);
        const command = exec(daemon, id, ["sh", "-c", "echo $$ >/pid; sleep 9876"], 2);
        command.catch(() => undefined);
        const root = `/proc/${await pidOf(daemon, id)}/root`;
        await until("the command runs", () => {
          try {
            return readFileSync(`${root}/pid`, "utf8") !== "";
          } catch {
            return false;
          }
        });
        await pause(id);
        await assert.rejects(command, failsWith(code.deadlineExceeded));
        assert.ok(frozen(pod, id));
        await resume(id);
        await until("the command is gone", async () => {
          const { stdout } = await exec(daemon, id, ["ps", "-o", "args"]);
          return !stdout.includes("sleep 9876");
        });
      }),
    ),
  );

  test(
    "has logs, a log that is rotated, statistics and new limits, and stays paused",
    leakless(served, () => {
      const config = bare({ logDirectory: logs });
      return inPod(daemon, config, async (pod) => {
        const { runtime } = daemon.client;
        const id = await runIn(pod, script(counter, { logPath: "counter.log" }));
        const log = path.join(logs, "counter.log");
        await until("it logs", () => readFileSync(log, "utf8").includes("line 3"));
        await pause(id);
        const { stats } = await runtime.containerStats({ containerId: id });
        assert.ok((stats?.cpu?.usageCoreNanoSeconds?.value ?? 0n) > 0n);
        renameSync(log, `${log}.1`);
        await runtime.reopenContainerLog({ containerId: id });
        assert.equal(readFileSync(log, "utf8"), "");
        const linux = { cpuPeriod: 100_000n, cpuQuota: 50_000n };
        await runtime.updateContainerResources({ containerId: id, linux });
        const quota = cgroupValue(`${parentOf(config)}/${id}`, "cpu.cfs_quota_us", "cpu.max");
        assert.match(quota, /^50000/);
        assert.ok(frozen(pod, id));
        assert.equal((await containerStatus(daemon, id)).reason, "Paused");
        await resume(id);
        await until("it logs on", () => logLines(log).length > 1);
      });
    }),
  );

  test(
    "takes clients that attach, whose output and input come when it is resumed",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(
          pod,
          script("while read line; do echo $line; done", { stdin: true }),
        );
        await pause(id);
        const client = await openAttach(daemon, id, { transport: "websocket" });
        client.type("hello\n");
        assert.ok(frozen(pod, id));
        await resume(id);
        await client.says("hello\n");
        client.remote.close();
      }),
    ),
  );

  test(
    "accepts connections, as far as the kernel does, and answers when it is resumed",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const id = await runIn(pod, script("exec nc -ll -p 7000 -e cat"));
        const { network } = await statusOf(daemon, pod.id);
        const host = network?.ip ?? "";
        /** A connection that has sent a word. */
        const say = async (): Promise<Socket> => {
          const socket = connect({ host, port: 7000 });
          await once(socket, "connect");
          socket.write("hi");
          return socket;
        };
        const echo = async (socket: Socket): Promise<string> => {
          const [bytes] = (await once(socket, "data")) as [Buffer];
          socket.destroy();
          return bytes.toString();
        };
        const answers = async (): Promise<string> => echo(await say());
        await until("it serves", () => answers().catch(() => undefined));
        await pause(id);
        const socket = await say();
        assert.ok(frozen(pod, id));
        await resume(id);
        assert.equal(await echo(socket), "hi");
      }),
    ),
  );

  for (const [seconds, exitCode] of [
    [20, 5],
    [0, 137],
  ] as const) {
    test(
      `is stopped with ${seconds} s of grace`,
      leakless(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const { id } = await runCounter(pod);
          await pause(id);
          await stop(daemon, id, seconds);
          const status = await containerStatus(daemon, id);
          assert.deepEqual([status.state, status.exitCode], [EXITED, exitCode]);
        }),
      ),
    );
  }

  test(
    "that ignores its stop signal is killed after the grace period",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod, script("trap '' TERM; while :; do sleep 0.05; done"));
        await pause(id);
        await stop(daemon, id, 1);
        assert.equal((await containerStatus(daemon, id)).exitCode, 137);
      }),
    ),
  );

  test(
    "is removed, and so is its pod",
    leakless(served, () =>
      inPod(daemon, podOf(), async (pod) => {
        const [first, second] = [await runCounter(pod), await runCounter(pod)];
        await pause(pod.id);
        await remove(daemon, first.id);
        await stopPod(daemon, pod.id);
        assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
        assert.equal((await containerStatus(daemon, second.id)).exitCode, 137);
        await removePod(daemon, pod.id);
      }),
    ),
  );

  test(
    "that something kills has ended as soon as it is resumed",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const { id } = await runCounter(pod);
        const pid = await pidOf(daemon, id);
        await pause(id);
        process.kill(pid, "SIGKILL");
        // The freezer of v2 lets a process die, that of v1 does not.
        await resume(id).catch(failsWith(code.failedPrecondition, /it is exited|has ended/));
        assert.equal((await exited(daemon, id)).exitCode, 137);
      }),
    ),
  );

  for (const how of ["stop", "kill9"] as const) {
    test(
      `is paused after a restart of the daemon by ${how}`,
      leaklessAcross(served, () =>
        inPod(daemon, bare(), async (pod) => {
          const { id, count } = await runCounter(pod);
          await pause(id);
          await daemon[how]();
          await launchDaemon(daemon);
          assert.ok(frozen(pod, id));
          assert.equal((await containerStatus(daemon, id)).reason, "Paused");
          await assert.rejects(
            exec(daemon, id, ["true"]),
            failsWith(code.failedPrecondition, paused),
          );
          await resume(id);
          await counts(count);
          assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
        }),
      ),
    );
  }

  test(
    "is resumed also if something else has frozen it",
    leakless(served, () =>
      inPod(daemon, bare(), async (pod) => {
        const id = await runIn(pod, container());
        await freeze(`${parentOf(pod.config)}/${id}`);
        await resume(id);
        assert.ok(!frozen(pod, id));
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
      }),
    ),
  );
});
