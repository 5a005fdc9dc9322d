/**
 * Pods of an older davit, which kept a pod's files in a directory of the state that every user of the node could
 * enter: the next davit restores the pods, restricts access to the files, and removes them.
 */
import assert from "node:assert/strict";
import { chmodSync, chownSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { after, before, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  closePod,
  createIn,
  Node,
  openPod,
  type Pod,
  runIn,
  sh,
  start,
} from "../support/suites/containers.ts";
import {
  bare,
  fileOf,
  launchDaemon,
  leaklessAcross,
  mapped,
  mountAt,
  openDirectories,
  output,
  POD,
  pod,
  READY,
  statusOf,
  stopPod,
  userRange,
  withPod,
} from "../support/suites/pods.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  openDirectories(daemon);
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
});
after(() => node[Symbol.asyncDispose]());

const names = ["hosts", "hostname", "resolv.conf"];

/** Lays the files of a pod out as that davit did. Only for a daemon that is stopped. */
async function layOutAsBefore({ id }: Pod, owner: number): Promise<void> {
  const at = (name: string): string => fileOf(daemon, id, name);
  const texts = names.map((name) => readFileSync(at(name), "utf8"));
  const hasShm = mountAt(at("shm")) !== undefined;
  if (hasShm) await output("umount", at("shm"));
  await output("umount", at("."));
  chmodSync(at("."), 0o711);
  chownSync(at("."), 0, 0);
  for (const [index, name] of names.entries()) {
    writeFileSync(at(name), texts[index] ?? "", { mode: 0o644 });
    chownSync(at(name), owner, owner);
  }
  if (!hasShm) return;
  mkdirSync(at("shm"));
  const options = `nosuid,nodev,noexec,size=64m,mode=1777,uid=${owner},gid=${owner}`;
  await output("mount", "-t", "tmpfs", "-o", options, "shm", at("shm"));
}

const pods: Readonly<Record<string, readonly [config: () => PodSandboxConfig, group: number]>> = {
  "an ordinary pod": [pod, 0],
  "a pod with a holder": [() => pod({ pid: POD }), 0],
  "a pod without a /dev/shm of its own": [bare, 0],
  "a pod in a user namespace": [mapped, userRange.hostId],
};

for (const [what, [config, group]] of Object.entries(pods)) {
  test(
    `${what} keeps running, is closed to other users, and leaves nothing`,
    leaklessAcross(served, async () => {
      const at = await openPod(daemon, config());
      const running = await runIn(at);
      await daemon.stop();
      await layOutAsBefore(at, group);
      const all = path.dirname(fileOf(daemon, at.id, "."));
      await output("mount", "-o", "remount,bind,suid,dev,exec", all);

      await launchDaemon(daemon);
      assert.equal((await statusOf(daemon, at.id)).state, READY);
      const flags = (await output("findmnt", "-no", "OPTIONS", all)).trim().split(",");
      for (const flag of ["nosuid", "nodev", "noexec"]) assert.ok(flags.includes(flag), flag);
      const { mode, uid, gid } = statSync(fileOf(daemon, at.id, "."));
      assert.deepEqual([mode & 0o7777, uid, gid], [group === 0 ? 0o700 : 0o710, 0, group]);

      assert.equal(await sh(daemon, running, "echo here"), "here");
      const later = await createIn(at);
      await start(daemon, later);
      const text = readFileSync(fileOf(daemon, at.id, "hosts"), "utf8").trimEnd();
      assert.equal(await sh(daemon, later, "touch /dev/shm/davit-upgrade && cat /etc/hosts"), text);
      await sh(daemon, later, "rm /dev/shm/davit-upgrade");
      await stopPod(daemon, at.id);
      await closePod(at);
    }),
  );
}
