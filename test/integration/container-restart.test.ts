/** Containers while no daemon runs: they keep running, and the next daemon knows how they ended. */
// variants: shim
import assert from "node:assert/strict";
import { readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { ContainerStatus } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { readMounts } from "../support/snapshot/files.ts";
import { isThere, readProcesses } from "../support/snapshot/processes.ts";
import {
  byShim,
  CREATED,
  closePod,
  container,
  containerStatus,
  createIn,
  EXITED,
  exec,
  exited,
  logLines,
  monitorName,
  Node,
  openPod,
  type Pod,
  pidOf,
  RUNNING,
  runIn,
  script,
  sh,
  start,
  stop,
} from "../support/suites/containers.ts";
import {
  bare,
  launchDaemon,
  leaklessAcross,
  output,
  pod as podOf,
  until,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
let logs = "";
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  logs = path.join(daemon.paths.directory, "logs");
  await closePod(await openPod(daemon, podOf()));
});
after(() => node[Symbol.asyncDispose]());

type End = "stop" | "kill -9";

async function endDaemonBy(how: End): Promise<void> {
  await (how === "stop" ? daemon.stop() : daemon.kill9());
}

/** The body of a test with a pod, across restarts of the daemon. */
function across(run: (pod: Pod) => Promise<void>): ReturnType<typeof leaklessAcross> {
  return leaklessAcross(served, async () => {
    const pod = await openPod(daemon, bare({ logDirectory: logs }));
    try {
      await run(pod);
    } finally {
      await closePod(pod);
      rmSync(logs, { recursive: true, force: true });
    }
  });
}

for (const how of ["stop", "kill -9"] as const) {
  describe(`a daemon that ends by ${how}`, () => {
    test(
      "finds its containers unchanged, and those that run can be used and stopped",
      across(async (pod) => {
        const ids = [await runIn(pod), await createIn(pod), await runIn(pod)];
        await stop(daemon, ids[2] ?? "");
        const seen = (): Promise<ContainerStatus[]> =>
          Promise.all(ids.map((id) => containerStatus(daemon, id)));
        const before = await seen();
        const [running = "", created = ""] = ids;
        const pid = await pidOf(daemon, running);
        await endDaemonBy(how);
        assert.ok(isThere(pid), "the container keeps running");
        await launchDaemon(daemon);
        assert.deepEqual(await seen(), before);
        assert.equal(await pidOf(daemon, running), pid);
        assert.equal(await sh(daemon, running, "echo here"), "here");
        await stop(daemon, running);
        assert.equal((await containerStatus(daemon, running)).exitCode, 137);
        assert.equal((await containerStatus(daemon, created)).state, CREATED);
        await start(daemon, created);
        assert.equal(await sh(daemon, created, "echo there"), "there");
      }),
    );

    test(
      "reports containers that exited meanwhile, with their exit codes and times",
      across(async (pod) => {
        const text = "while [ ! -e /go ]; do sleep 0.05; done; exit 7";
        const id = await runIn(pod, script(text));
        const pid = await pidOf(daemon, id);
        await endDaemonBy(how);
        const gone = Date.now();
        await output("touch", `/proc/${pid}/root/go`);
        await until("it has ended", () => !isThere(pid));
        const over = Date.now();
        await launchDaemon(daemon);
        const status = await exited(daemon, id);
        assert.deepEqual([status.exitCode, status.reason], [7, "Error"]);
        const finished = Number(status.finishedAt / 1_000_000n);
        assert.ok(finished >= gone - 20 && finished <= over + 500, `${finished} ${gone} ${over}`);
        assert.ok(status.finishedAt > status.startedAt);
      }),
    );

    test(
      "does not interrupt logs, and reopens them afterwards",
      across(async (pod) => {
        const text = "i=0; while :; do echo $i; i=$((i+1)); sleep 0.01; done";
        const id = await runIn(pod, script(text, { logPath: "0.log" }));
        const file = path.join(logs, "0.log");
        const count = (): number => readFileSync(file, "utf8").split("\n").length;
        await until("it has written", () => count() > 3);
        await endDaemonBy(how);
        const then = count();
        // Without a daemon, the fifo of a shim keeps 64 KiB of output. The next daemon writes it to the log.
        if (!byShim) await until("the log grows", () => count() > then + 10);
        await launchDaemon(daemon);
        await until("the log grows", () => count() > then + 10);
        await output("mv", file, `${file}.1`);
        await daemon.client.runtime.reopenContainerLog({ containerId: id });
        await until("the log grows", () => count() > 3);
        await stop(daemon, id);
        const texts = [`${file}.1`, file].flatMap((each) =>
          logLines(each).map((line) => line.text),
        );
        assert.deepEqual(
          texts,
          Array.from(texts, (_, n) => String(n)),
        );
      }),
    );
  });
}

// shim-faults.test.ts has the tests for a shim that is killed.
describe("a monitor that is killed", { skip: byShim && "a shim has no monitor" }, () => {
  /** The monitor of a container: the parent of its process. */
  function monitorOf(pid: number): number {
    const entry = readProcesses().find((each) => each.pid === pid);
    assert.ok(entry !== undefined);
    const parent = readProcesses().find((each) => each.pid === entry.ppid);
    assert.equal(parent?.comm, monitorName);
    return parent.pid;
  }

  for (const alive of [true, false]) {
    test(
      `${alive ? "under a daemon" : "while there is none"}: its container keeps running, and ends with 255 and Unknown`,
      across(async (pod) => {
        const id = await runIn(pod);
        const pid = await pidOf(daemon, id);
        const monitor = monitorOf(pid);
        if (!alive) await daemon.kill9();
        process.kill(monitor, "SIGKILL");
        await until("the monitor is gone", () => !isThere(monitor));
        if (!alive) await launchDaemon(daemon);
        assert.equal((await containerStatus(daemon, id)).state, RUNNING);
        assert.ok(isThere(pid));
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
        await stop(daemon, id);
        const { state, exitCode, reason } = await containerStatus(daemon, id);
        assert.equal(state, EXITED);
        assert.deepEqual([exitCode, reason], [255, "Unknown"]);
        assert.ok(!isThere(pid));
      }),
    );
  }
});

test(
  "a container that was killed together with its monitor has exited with 255 and Unknown",
  across(async (pod) => {
    const id = await runIn(pod);
    const pid = await pidOf(daemon, id);
    const monitor = readProcesses().find((each) => each.pid === pid)?.ppid ?? 0;
    await daemon.kill9();
    process.kill(monitor, "SIGKILL");
    process.kill(pid, "SIGKILL");
    await until("both are gone", () => !isThere(pid) && !isThere(monitor));
    await launchDaemon(daemon);
    const { exitCode, reason } = await exited(daemon, id);
    assert.deepEqual([exitCode, reason], [255, "Unknown"]);
  }),
);

test(
  "a pod's network and its containers outlive the daemon together",
  leaklessAcross(served, async () => {
    const pod = await openPod(daemon, podOf());
    const id = await runIn(pod, container());
    const before = await sh(daemon, id, "ip -o -4 address show eth0");
    await daemon.kill9();
    await launchDaemon(daemon);
    assert.equal(await sh(daemon, id, "ip -o -4 address show eth0"), before);
    await closePod(pod);
  }),
);

test(
  "after a reboot all containers are exited, 255, Unknown, and can be removed",
  across(async (pod) => {
    const ids = [await runIn(pod), await createIn(pod)];
    const ended = await runIn(pod, script("exit 3"));
    await exited(daemon, ended);
    const pid = await pidOf(daemon, ids[0] ?? "");
    const monitor = readProcesses().find((each) => each.pid === pid)?.ppid ?? 0;
    await daemon.kill9();
    for (const each of [monitor, pid]) process.kill(each, "SIGKILL");
    await until("they are gone", () => !isThere(pid) && !isThere(monitor));
    const roots = path.join(daemon.paths.root, "roots");
    const mounts = readMounts().filter(({ target }) => target.startsWith(`${roots}/`));
    for (const { target } of mounts.toReversed()) await output("umount", target);
    await launchDaemon(daemon, { DAVIT_BOOT_ID: "01234567-89ab-cdef-0123-456789abcdef" });
    for (const id of ids) {
      const status = await containerStatus(daemon, id);
      assert.deepEqual([status.state, status.exitCode, status.reason], [EXITED, 255, "Unknown"]);
      assert.ok(status.finishedAt >= status.createdAt);
    }
    const { exitCode } = await containerStatus(daemon, ended);
    assert.equal(exitCode, 3, "what had ended before keeps its exit code");
    await closePod(pod);
    await daemon.stop();
    await launchDaemon(daemon);
  }),
);
