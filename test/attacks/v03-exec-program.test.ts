/**
 * V3: a container that watches davit's own program while that runs commands in it (native/exec.c): its file, the node's
 * root and paths at /proc/PID, its descriptors, and the node's /dev/null as a command's stdin.
 */
import assert from "node:assert/strict";
import { readFileSync, readlinkSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import { exec, inPod, Node, runIn, script, sh } from "../support/suites/containers.ts";
import { leakless, pod, until, withPod } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { readProcesses } from "../support/snapshot/processes.ts";

const memory = "/memfd:davit-program (deleted)";
const commands = 80;

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
});
after(() => node[Symbol.asyncDispose]());

const linux = { securityContext: { capabilities: { addCapabilities: ["SYS_PTRACE"] } } };

test(
  "the program is not a file of the node, and no container sees the process that waits",
  leakless(served, () =>
    inPod(daemon, pod(), async (at) => {
      const id = await runIn(at);
      const running = exec(daemon, id, [
        "sh",
        "-c",
        "touch /begun; until [ -e /end ]; do sleep 0.1; done",
      ]);
      // If the test fails below, the removal of its pod ends this call.
      running.catch(() => undefined);
      // Until it is executed, the command itself has the program's name.
      await sh(daemon, id, "until [ -e /begun ]; do sleep 0.1; done");
      const waiting = await until("the program waits", () =>
        readProcesses().find(({ comm, pid }) => {
          return comm === "davit-exec" && readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(id);
        }),
      );
      assert.equal(readlinkSync(`/proc/${waiting.pid}/exe`), memory);
      assert.equal(readlinkSync(`/proc/${waiting.pid}/ns/mnt`), readlinkSync("/proc/self/ns/mnt"));
      assert.doesNotMatch(await sh(daemon, id, "cat /proc/[0-9]*/comm"), /davit/);
      await sh(daemon, id, "touch /end");
      assert.equal((await running).exitCode, 0);
    }),
  ),
);

test(
  "a container with SYS_PTRACE finds neither files nor paths of the node while commands start",
  leakless(served, () =>
    inPod(daemon, pod(), async (at) => {
      const canary = path.join(daemon.paths.directory, "canary");
      writeFileSync(canary, "the node's", { mode: 0o600 });
      // A name of its own in the command line of this loop must not be what it finds.
      const [first, rest] = [canary.slice(0, 6), canary.slice(6)];
      const watch = `
        seen=0; a='${first}'; b='${rest}'
        while [ ! -e /end ]; do
          for p in /proc/[0-9]*; do
            case $p in /proc/1|/proc/$$) continue;; esac
            read comm < $p/comm 2>/dev/null && [ "$comm" = davit-exec ] && seen=$((seen + 1))
            [ -e $p/root$a$b ] && echo "root of $p" >> /found
            for f in $p/fd/*; do [ -e "$f/$a$b" ] && echo "$f" >> /found; done
            tr '\\0' ' ' < $p/cmdline 2>/dev/null | grep -q 'cgroup.procs\\|/state/' && cat $p/cmdline >> /found
          done
        done 2>/dev/null
        echo "$seen" > /seen
        while :; do sleep 100; done`;
      const id = await runIn(at, script(watch, { linux }));
      for (let count = 0; count < commands; count++) {
        assert.equal((await exec(daemon, id, ["true"])).exitCode, 0);
      }
      await sh(daemon, id, "touch /end; until [ -e /seen ]; do sleep 0.1; done");
      assert.equal(await sh(daemon, id, "[ ! -e /found ] || cat /found"), "");
    }),
  ),
);

test(
  "a command's stdin is not the node's /dev/null, and does not become its user's",
  leakless(served, () =>
    inPod(daemon, pod(), async (at) => {
      const before = statSync("/dev/null");
      const runAsUser = { value: 1234n };
      const user = { linux: { securityContext: { runAsUser } } };
      for (const id of [await runIn(at), await runIn(at, script("sleep 100000", user))]) {
        const [device, inode] = (await sh(daemon, id, "stat -L -c '%d %i' /proc/self/fd/0")).split(
          " ",
        );
        assert.notDeepEqual([device, inode], [String(before.dev), String(before.ino)]);
        assert.match(await sh(daemon, id, "readlink /proc/self/fd/0"), /^\/dev\/null$/);
      }
      const { uid, gid, mode } = statSync("/dev/null");
      assert.deepEqual([uid, gid, mode], [before.uid, before.gid, before.mode]);
    }),
  ),
);
