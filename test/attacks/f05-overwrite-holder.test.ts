/**
 * F5: a container that may trace processes keeps a descriptor of the program that is PID 1 of its pod, and
 * writes to the file on the node when nobody runs it any more.
 */
import assert from "node:assert/strict";
import { closeSync, openSync, readFileSync, readlinkSync, writeSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import {
  closePod,
  container,
  exec,
  inPod,
  Node,
  openPod,
  runIn,
  sh,
} from "../support/suites/containers.ts";
import {
  holderOf,
  leakless,
  mapped,
  openDirectories,
  pod,
  POD,
  until,
  withPod,
} from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { readProcesses } from "../support/snapshot/processes.ts";

const memory = "/memfd:davit-program (deleted)";
const onNode = path.resolve(import.meta.dirname, "../../dist/davit-holder");

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
  openDirectories(daemon);
});
after(() => node[Symbol.asyncDispose]());

test(
  "/proc/1/exe of a container is not a file of the node",
  leakless(served, () =>
    inPod(daemon, pod({ pid: POD }), async (at) => {
      const capabilities = { addCapabilities: ["SYS_PTRACE"] };
      const id = await runIn(at, container({ linux: { securityContext: { capabilities } } }));
      assert.equal(await sh(daemon, id, "readlink /proc/1/exe"), memory);
      // Its name still identifies it.
      assert.equal(await sh(daemon, id, "cat /proc/1/comm"), "davit-holder");
      assert.equal(await sh(daemon, id, "tr '\\0' ' ' < /proc/1/cmdline"), "davit-holder -");
    }),
  ),
);

for (const [what, config] of Object.entries({ "of a pod": pod, "with own ids": mapped })) {
  test(
    `the holder ${what} cannot be written to when it has ended`,
    leakless(served, async () => {
      const before = readFileSync(onNode);
      const at = await openPod(daemon, config({ pid: POD }));
      const exe = `/proc/${await holderOf(daemon, at.id)}/exe`;
      // The check precedes the first write, which must not change a file of this working copy.
      assert.equal(readlinkSync(exe), memory);
      const kept = openSync(exe, "r");
      try {
        await closePod(at);
        // The file may be opened, but it is sealed: F_SEAL_WRITE, fcntl(2).
        assert.throws(() => {
          const writable = openSync(`/proc/self/fd/${kept}`, "a");
          try {
            writeSync(writable, "OVERWRITTEN");
          } finally {
            closeSync(writable);
          }
        }, /EPERM/);
      } finally {
        closeSync(kept);
      }
      assert.deepEqual(readFileSync(onNode), before);
      // The holder of the next pod runs.
      const next = await openPod(daemon, config({ pid: POD }));
      await holderOf(daemon, next.id);
      await closePod(next);
    }),
  );
}

test(
  "the program that waits for a command in a container is not a file of the node",
  leakless(served, () =>
    inPod(
      daemon,
      pod(),
      async (at) => {
        const id = await runIn(at);
        const running = exec(daemon, id, ["sh", "-c", "until [ -e /end ]; do sleep 0.1; done"]);
        // If the test fails below, the removal of its pod ends this call.
        running.catch(() => undefined);
        const waiter = await until("a waiter runs", () =>
          readProcesses().find(({ comm, pid }) => {
            return (
              comm === "davit-waiter" && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(id)
            );
          }),
        );
        assert.equal(readlinkSync(`/proc/${waiter.pid}/exe`), memory);
        await sh(daemon, id, "touch /end");
        assert.equal((await running).exitCode, 0);
      },
      "runc",
    ),
  ),
);
