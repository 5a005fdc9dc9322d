/** Requested mounts over /proc and /dev: those that cannot work are refused, and the error names the mount. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import {
  type ContainerInit,
  container,
  containerStatus,
  createIn,
  exec,
  inPod,
  Node,
  type Pod,
  runIn,
  start,
} from "../support/suites/containers.ts";
import { bare, code, failsWith, leakless, withPod } from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";

let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

const directory = mkdtempSync(path.join(tmpdir(), "davit-kernel-mounts-"));
const [empty, devices, file] = ["empty", "devices", "file"].map((name) =>
  path.join(directory, name),
);
assert.ok(empty !== undefined && devices !== undefined && file !== undefined);
mkdirSync(empty);
mkdirSync(devices);
writeFileSync(file, "mine");
for (const [name, minor] of Object.entries({ null: "3", zero: "5", urandom: "9" })) {
  execFileSync("mknod", ["-m", "666", path.join(devices, name), "c", "1", minor]);
}

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
});
after(async () => {
  await node[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true });
});

const mounting = (containerPath: string, hostPath: string, tty = false): ContainerInit =>
  container({ tty, mounts: [{ containerPath, hostPath }] });

const refusals = async (): Promise<void> => {
  const bad: readonly (readonly [string, string, boolean, RegExp])[] = [
    ["/proc", empty, false, /at "\/proc": it is not a procfs/],
    ["/proc/version", file, false, /"\/proc\/version" is in the kernel's \/proc/],
    ["/proc/../proc/self/attr", empty, false, /self\/attr" is in the kernel's \/proc/],
    ["/dev", empty, false, /at "\/dev": it has no device "null"/],
    ["/dev", devices, true, /at "\/dev": it has no "ptmx"/],
    ["/dev/", empty, true, /at "\/dev\/": it has no device "null"/],
    ["/dev/null", file, false, /at "\/dev\/null": it is not the null device/],
    ["/dev/pts", empty, true, /at "\/dev\/pts": it has no "ptmx"/],
  ];
  await inPod(daemon, bare(), async (pod) => {
    for (const [at, source, tty, message] of bad) {
      await assert.rejects(
        createIn(pod, mounting(at, source, tty)),
        failsWith(code.invalidArgument, message),
        at,
      );
    }
  });
};

test("mounts that hide what every container needs are refused", leakless(served, refusals));

const good: readonly (readonly [string, string, boolean])[] = [
  ["/proc", "/proc", false],
  ["/proc/meminfo", file, true],
  ["/dev", "/dev", false],
  ["/dev", devices, false],
  ["/dev/null", "/dev/null", true],
  ["/dev/pts", empty, false],
  ["/dev/log", file, true],
  ["/sys", "/sys", true],
];

for (const handler of ["crun", "runc"]) {
  describe(`under ${handler}`, () => {
    const inside = (use: (pod: Pod) => Promise<void>) =>
      leakless(served, async () => {
        const config = bare();
        await withPod(daemon, config, (id) => use({ daemon, id, config }), handler);
      });

    test(
      "paths of the node, and mounts that hide nothing, are allowed",
      inside(async (pod) => {
        for (const [at, source, tty] of good) {
          const id = await runIn(pod, mounting(at, source, tty));
          assert.equal((await exec(daemon, id, ["test", "-c", "/dev/null"])).exitCode, 0, at);
        }
      }),
    );

    test(
      "the error of a failed start has the OCI runtime's message, also with a terminal",
      inside(async (pod) => {
        for (const tty of [false, true]) {
          // It fails before the runtime hands the terminal over.
          const words = /OCI runtime create: .*etc\/passwd\/below/;
          const id = await createIn(pod, mounting("/etc/passwd/below", empty, tty));
          await assert.rejects(start(daemon, id), failsWith(code.unknown, words));
          const { message, reason } = await containerStatus(daemon, id);
          assert.match(message, words);
          assert.equal(reason, "StartError");
        }
      }),
    );
  });
}
