/** What others kill or unmount: states become true soon, Stop and Remove work and leave nothing, other pods keep running. */
import assert from "node:assert/strict";
import { existsSync, rmSync, rmdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { isThere, readProcesses } from "../support/snapshot/processes.ts";
import {
  closePod,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  Node,
  openPod,
  type Pod,
  pidOf,
  RUNNING,
  remove,
  runIn,
  script,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  cgroupDirectories,
  cgroupsOfProcess,
  fileOf,
  holderOf,
  launchDaemon,
  leaklessAcross,
  NODE,
  NOTREADY,
  output,
  POD,
  pod as podOf,
  statusOf,
  stopPod,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  await closePod(await openPod(daemon, podOf()));
});
after(() => node[Symbol.asyncDispose]());

const parentOf = (pid: number): number =>
  readProcesses().find((each) => each.pid === pid)?.ppid ?? 0;

/** The body of a test with a pod to damage, and another one that must not be affected. */
function beside(
  modes: Parameters<typeof podOf>[0],
  run: (pod: Pod) => Promise<void>,
): ReturnType<typeof leaklessAcross> {
  return leaklessAcross(served, async () => {
    const other = await openPod(daemon, podOf({ pid: POD }));
    const otherId = await runIn(other);
    const pid = await pidOf(daemon, otherId);
    const begun = await statusOf(daemon, other.id);
    const pod = await openPod(daemon, podOf(modes));
    await run(pod);
    await closePod(pod);
    assert.deepEqual(await statusOf(daemon, other.id), begun);
    assert.equal((await containerStatus(daemon, otherId)).state, RUNNING);
    assert.equal(await pidOf(daemon, otherId), pid);
    assert.equal((await exec(daemon, otherId, ["true"])).exitCode, 0);
    await closePod(other);
  });
}

/** Applies the damage while the daemon runs, or while it is stopped. */
async function damage(when: "served" | "not served", break_: () => unknown): Promise<void> {
  if (when === "not served") await daemon.kill9();
  await break_();
  if (when === "not served") await launchDaemon(daemon);
}

const whens = ["served", "not served"] as const;
const unmount = (target: string): Promise<string> =>
  output("nsenter", `--mount=/proc/${process.pid}/ns/mnt`, "umount", target);

for (const when of whens) {
  describe(`while it is ${when}`, () => {
    test(
      "a container that is killed from outside is exited, 137",
      beside({}, async (pod) => {
        const id = await runIn(pod);
        const pid = await pidOf(daemon, id);
        await damage(when, () => process.kill(pid, "SIGKILL"));
        const status = await exited(daemon, id, 2000);
        assert.deepEqual([status.exitCode, status.reason], [137, "Error"]);
        await remove(daemon, id);
      }),
    );

    test(
      "a container without its monitor ends with all of its processes: 255, Unknown",
      beside({ pid: NODE }, async (pod) => {
        const id = await runIn(pod, script("sleep 100001 & exec sleep 100002"));
        const pid = await pidOf(daemon, id);
        const child = await until("its child is there", () => {
          return readProcesses().find((each) => each.ppid === pid)?.pid;
        });
        const monitor = parentOf(pid);
        await damage(when, () => process.kill(monitor, "SIGKILL"));
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        process.kill(pid, "SIGKILL");
        const status = await exited(daemon, id, 5000);
        assert.deepEqual([status.exitCode, status.reason], [255, "Unknown"]);
        // It was killed, but its new parent may not have reaped it yet.
        await until("its child is gone", () => !isThere(child));
        await remove(daemon, id);
      }),
    );

    test(
      "a container that was moved out of its cgroup can be stopped",
      beside({}, async (pod) => {
        const id = await runIn(pod);
        const pid = await pidOf(daemon, id);
        const own = cgroupsOfProcess(pid).find((cgroup) => cgroup.endsWith(id)) ?? "";
        await damage(when, () => {
          for (const directory of cgroupDirectories(own).filter((each) => existsSync(each))) {
            const parent = path.dirname(directory);
            writeFileSync(path.join(parent, "cgroup.procs"), String(pid));
            rmdirSync(directory);
          }
        });
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        await stop(daemon, id);
        assert.equal((await containerStatus(daemon, id)).exitCode, 137);
        assert.ok(!isThere(pid));
        await remove(daemon, id);
      }),
    );

    test(
      "a container whose root was unmounted keeps running and can be removed; one that was not started fails",
      beside({}, async (pod) => {
        const ids = [await runIn(pod), await createIn(pod)] as const;
        const pid = await pidOf(daemon, ids[0]);
        const rootOf = (id: string): string => path.join(daemon.paths.root, "roots", id, "merged");
        await damage(when, async () => {
          for (const id of ids) await unmount(rootOf(id));
        });
        assert.equal((await containerStatus(daemon, ids[0])).state, RUNNING);
        assert.ok(isThere(pid));
        await assert.rejects(start(daemon, ids[1]));
        const failed = await containerStatus(daemon, ids[1]);
        assert.deepEqual([failed.state, failed.reason], [EXITED, "StartError"]);
        await stop(daemon, ids[0]);
        for (const id of ids) await remove(daemon, id);
      }),
    );

    test(
      "a container whose bundle was deleted keeps running, and can be stopped and removed",
      beside({}, async (pod) => {
        const ids = [await runIn(pod), await runIn(pod, script("sleep 0.5; exit 3"))] as const;
        const pids = [await pidOf(daemon, ids[0]), await pidOf(daemon, ids[1])] as const;
        await damage(when, async () => {
          for (const id of ids) {
            rmSync(path.join(daemon.paths.state, "containers", id), { recursive: true });
            rmSync(path.join(daemon.paths.state, "crun", id), { recursive: true, force: true });
          }
          if (when === "not served") await until("one has ended", () => !isThere(pids[1]));
        });
        assert.equal((await containerStatus(daemon, ids[0])).state, RUNNING);
        assert.equal((await exited(daemon, ids[1], 5000)).exitCode, 3);
        await stop(daemon, ids[0]);
        assert.equal((await containerStatus(daemon, ids[0])).exitCode, 137);
        assert.ok(!isThere(pids[0]));
        for (const id of ids) await remove(daemon, id);
      }),
    );

    test(
      "a pod whose directory was deleted can be stopped and removed",
      beside({ pid: POD }, async (pod) => {
        const id = await runIn(pod);
        await damage(when, async () => {
          for (const name of ["shm", "."]) await unmount(fileOf(daemon, pod.id, name));
          rmSync(fileOf(daemon, pod.id, ""), { recursive: true });
        });
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        await assert.rejects(runIn(pod));
        await stopPod(daemon, pod.id);
        assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
        assert.equal((await containerStatus(daemon, id)).state, EXITED);
      }),
    );

    test(
      "a pod whose holder was killed is NOTREADY, and its containers have ended",
      beside({ pid: POD }, async (pod) => {
        const id = await runIn(pod);
        const holder = await holderOf(daemon, pod.id);
        await damage(when, () => process.kill(holder, "SIGKILL"));
        await until("it is seen", async () => {
          return (await statusOf(daemon, pod.id)).state === NOTREADY;
        });
        assert.equal((await exited(daemon, id, 5000)).exitCode, 137);
      }),
    );
  });
}
