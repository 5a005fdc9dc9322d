/** F9: a user of the node reads and writes /dev/shm and other files of the pods on it. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { container, exec, inPod, Node, pull, runIn, sh } from "../support/suites/containers.ts";
import {
  fileOf,
  leakless,
  mapped,
  NODE,
  openDirectories,
  pod,
  withPod,
} from "../support/suites/pods.ts";
import type { TestDaemon } from "../support/daemon.ts";
import { busyboxLayer, imageOf, layerOf } from "../support/images.ts";
import { readMounts } from "../support/snapshot/files.ts";
import { asNobody } from "./nobody.ts";

const image = "registry.k8s.io/e2e/volumes:1";
let node: Node;
let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  node = await Node.startWithBusybox();
  daemon = node.daemon;
  // The first pod creates the bridge, which stays.
  await withPod(daemon, pod(), async () => undefined);
  openDirectories(daemon);
  const setuid = layerOf([
    { path: "data/", mode: 0o777 },
    { path: "data/program", mode: 0o4755 },
  ]);
  const config = { Volumes: { "/data": {} } };
  await node.registry.push("e2e/volumes", imageOf([busyboxLayer(), setuid], config), ["1"]);
  await pull(daemon, image);
});
after(() => node[Symbol.asyncDispose]());

for (const [what, config] of Object.entries({ "a pod": pod, "a pod with own ids": mapped })) {
  test(
    `no other user reads or writes in /dev/shm of ${what}`,
    leakless(served, () =>
      inPod(daemon, config(), async (at) => {
        const id = await runIn(at);
        await sh(daemon, id, "echo pod-secret > /dev/shm/data; chmod 666 /dev/shm/data");
        const shm = fileOf(daemon, at.id, "shm");
        assert.equal(readFileSync(path.join(shm, "data"), "utf8"), "pod-secret\n");
        const read = asNobody(["cat", path.join(shm, "data")]);
        assert.equal(read.stdout, "");
        assert.match(read.stderr, /Permission denied/);
        assert.notEqual(asNobody(["touch", path.join(shm, "planted")]).code, 0);
        assert.equal(await sh(daemon, id, "ls /dev/shm"), "data");
      }),
    ),
  );
}

/** All that is in the daemon's directories and on the mounts in them, symbolic links left out. */
function everything(): readonly string[] {
  const { root, state } = daemon.paths;
  const mounts = readMounts().filter(({ target, type }) => {
    return type !== "nsfs" && [root, state].some((top) => target.startsWith(`${top}/`));
  });
  const tops = [root, state, ...mounts.map(({ target }) => target)];
  const args = [...tops, "-xdev", "!", "-type", "l", "-print0"];
  const found = execFileSync("find", args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  return [...new Set(found.split("\0"))].filter((name) => name !== "");
}

/** Those of these files that a user of the node can read or write. */
function openToNobody(names: readonly string[]): readonly string[] {
  const look = 'xargs -0 sh -c \'for f; do test -r "$f" -o -w "$f" && echo "$f"; done; true\' sh';
  const said = asNobody(["sh", "-c", look], names.join("\0"));
  assert.equal(said.stderr, "");
  return said.stdout.split("\n").filter((name) => name !== "");
}

test(
  "no other user reads or writes any file of davit",
  leakless(served, () =>
    inPod(daemon, pod(), async (one) => {
      await inPod(daemon, mapped(), async (other) => {
        for (const at of [one, other]) {
          const volume = { image: { image }, readonly: true, containerPath: "/image" };
          await runIn(at, container({ image: { image }, mounts: [volume] }));
        }
        const names = everything();
        assert.ok(
          names.some((name) => name.endsWith("/volumes/0/program")),
          "VOLUME",
        );
        assert.ok(
          names.some((name) => name.endsWith("/images/0/data/program")),
          "image volume",
        );
        assert.ok(
          names.some((name) => name.endsWith("/merged/bin/busybox")),
          "root",
        );
        assert.deepEqual(openToNobody(names), []);
      });
    }),
  ),
);

describe("in a container", () => {
  const flags = (mounts: string, place: string): readonly string[] => {
    const [, options = ""] = new RegExp(`^\\S+ ${place} \\S+ (\\S+)`, "m").exec(mounts) ?? [];
    return ["nosuid", "nodev", "noexec"].filter((flag) => options.split(",").includes(flag));
  };

  for (const handler of ["crun", "runc"]) {
    test(
      `of ${handler}, the pod's files are nosuid, nodev and noexec`,
      leakless(served, () =>
        inPod(
          daemon,
          pod(),
          async (at) => {
            const id = await runIn(at);
            const mounts = await sh(daemon, id, "cat /proc/mounts");
            for (const place of ["/dev/shm", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]) {
              assert.deepEqual(flags(mounts, place), ["nosuid", "nodev", "noexec"], place);
            }
            await sh(daemon, id, "cp /bin/busybox /dev/shm/program");
            const said = await exec(daemon, id, ["sh", "-c", "/dev/shm/program true"]);
            assert.match(said.stderr, /Permission denied/);
          },
          handler,
        ),
      ),
    );
  }

  test(
    "an image volume is nosuid and nodev, and its programs can be run",
    leakless(served, () =>
      inPod(daemon, pod(), async (at) => {
        const volume = { image: { image }, readonly: true, containerPath: "/image" };
        const id = await runIn(at, container({ mounts: [volume] }));
        const mounts = await sh(daemon, id, "cat /proc/mounts");
        assert.deepEqual(flags(mounts, "/image"), ["nosuid", "nodev"]);
        assert.equal(await sh(daemon, id, "/image/bin/busybox echo run"), "run");
      }),
    ),
  );

  test(
    "the node's own /dev/shm is nosuid and nodev",
    leakless(served, () =>
      inPod(daemon, pod({ ipc: NODE }), async (at) => {
        const mounts = await sh(daemon, await runIn(at), "cat /proc/mounts");
        assert.deepEqual(flags(mounts, "/dev/shm"), ["nosuid", "nodev"]);
      }),
    ),
  );
});
