/**
 * A container that can write to the directory of another one's log, or to its parent, prepares traps for the start
 * of that container. Before: conmon followed links, so that it appended the output to any file of the node, created
 * one, or wrote to another directory; and a FIFO blocked StartContainer.
 */
// variants: shim
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  createIn,
  exited,
  inPod,
  Node,
  type Pod,
  runIn,
  script,
  sh,
  start,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless } from "../support/suites/pods.ts";
import { logAttack, textOf } from "./log-attack.ts";

let node: Node;
const linked = mkdtempSync(path.join(tmpdir(), "davit-linked-"));
const linkedRoot = path.join(linked, "log/pods");

before(async () => {
  node = await Node.startWithBusybox({ config: { runtime: { log_roots: [linkedRoot] } } });
});
after(() => node[Symbol.asyncDispose]());

const served = (): Node["daemon"] => node.daemon;

describe("StartContainer", () => {
  test(
    "refuses a log path that is not a regular file, and does not open it",
    logAttack(served, async ({ pod, logs, canary, empty, container }) => {
      const { daemon } = pod;
      const attacker = await runIn(pod, container("sleep 100000", "attacker.log"));
      let victims = 0;
      for (const [make, message] of [
        [`ln -s ${canary} $n`, /it is a symbolic link/],
        [`ln -s ${empty}/made $n`, /it is a symbolic link/],
        ["mkfifo $n", /it is a named pipe/],
        ["mknod $n c 1 7", /it is a device/],
        ["mkdir $n", /it is a directory/],
        ["ln attacker.log $n", /another name/],
      ] as const) {
        victims += 1;
        const name = `victim-${victims}.log`;
        await sh(daemon, attacker, `cd /lg && n=${name} && ${make}`);
        const victim = await createIn(pod, container("echo payload", name));
        await assert.rejects(start(daemon, victim), failsWith(code.failedPrecondition, message));
        const { reason, exitCode } = await exited(daemon, victim);
        assert.deepEqual([reason, exitCode], ["StartError", 128]);
      }
      assert.deepEqual(readdirSync(empty), []);
      assert.equal(textOf(path.join(logs, "attacker.log")), "");
    }),
  );

  test(
    "refuses a log whose directory was replaced by a link, at any depth",
    logAttack(served, async ({ pod, above, empty, container }) => {
      const { daemon } = pod;
      const attacker = await runIn(pod, container("sleep 100000", "attacker.log"));
      await sh(daemon, attacker, `mkdir /lg/a && ln -s ${empty} /lg/a/b`);
      for (const logPath of ["a/b/0.log", "a/b/c/0.log"]) {
        const victim = await createIn(pod, container("echo payload", logPath));
        const refused = failsWith(code.failedPrecondition, /\/a\/b" is a symbolic link/);
        await assert.rejects(start(daemon, victim), refused);
      }
      await sh(daemon, attacker, `mv /lgs/pod /lgs/moved && ln -s ${empty} /lgs/pod`);
      const victim = await createIn(pod, container("echo payload", "victim.log"));
      const refused = failsWith(code.failedPrecondition, /\/pods\/pod" is a symbolic link/);
      await assert.rejects(start(daemon, victim), refused);
      await sh(daemon, attacker, "mv /lgs/moved/attacker.log /lgs/moved/attacker.log.1");
      const reopened = daemon.client.runtime.reopenContainerLog({ containerId: attacker });
      await assert.rejects(reopened, refused);
      assert.deepEqual(readdirSync(empty), []);
      assert.deepEqual(readdirSync(above).sort(), ["moved", "pod"]);
    }),
  );

  test(
    "follows links above a directory that the configuration names, and none below",
    leakless(served, async () => {
      const { daemon } = node;
      mkdirSync(path.join(linked, "disk/pods/pod"), { recursive: true });
      symlinkSync("disk", path.join(linked, "log"));
      symlinkSync("pod", path.join(linked, "disk/pods/other"));
      const inLogs = (name: string, use: (pod: Pod) => Promise<void>): Promise<void> =>
        inPod(daemon, bare({ logDirectory: path.join(linkedRoot, name) }), use);
      const config = script("echo here", { logPath: "0.log" });
      await inLogs("pod", async (pod) => {
        const id = await runIn(pod, config);
        await exited(daemon, id);
      });
      assert.equal(textOf(path.join(linked, "disk/pods/pod/0.log")), "here\n");
      await inLogs("other", async (pod) => {
        const refused = failsWith(code.failedPrecondition, /pods\/other" is a symbolic link/);
        await assert.rejects(runIn(pod, config), refused);
      });
      rmSync(linked, { recursive: true });
    }),
  );
});
