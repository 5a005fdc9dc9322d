/** Directories, layers and records that are lost while no daemon runs: the next one starts, says so, and cleans up. */
import assert from "node:assert/strict";
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  rmdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import type { TestDaemon } from "../support/daemon.ts";
import { readMounts } from "../support/snapshot/files.ts";
import { isThere } from "../support/snapshot/processes.ts";
import {
  busybox,
  closePod,
  containerStatus,
  createIn,
  EXITED,
  exec,
  imageStatus,
  Node,
  openPod,
  type Pod,
  pidOf,
  pull,
  RUNNING,
  runIn,
  stop,
} from "../support/suites/containers.ts";
import {
  cgroupsThere,
  code,
  failsWith,
  holderOf,
  launchDaemon,
  leaklessAcross,
  listIds,
  NODE,
  NOTREADY,
  output,
  parentOf,
  POD,
  pod as podOf,
  statusOf,
  stopPod,
  takenAddresses,
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

interface Living {
  readonly pod: Pod;
  readonly id: string;
  readonly pids: readonly number[];
}

/** A pod with a holder, an address and a container. */
async function living(): Promise<Living> {
  const pod = await openPod(daemon, podOf({ pid: POD }));
  const id = await runIn(pod);
  return { pod, id, pids: [await holderOf(daemon, pod.id), await pidOf(daemon, id)] };
}

/** Removes a directory with everything that is mounted in it, as an administrator could do. */
async function deleteDirectory(directory: string): Promise<void> {
  const mounts = readMounts().filter(({ target }) => `${target}/`.startsWith(`${directory}/`));
  for (const { target } of mounts.toReversed()) await output("umount", "--lazy", target);
  rmSync(directory, { recursive: true });
}

/** Waits until nothing is left of a pod that has no record. */
async function untilSwept({ pod, pids }: Living): Promise<void> {
  await until("its processes have ended", () => !pids.some(isThere));
  const { root, state } = daemon.paths;
  for (const name of ["containers", "exits", "sandboxes", "ns/net", "ns/ipc", "ns/uts"]) {
    const directory = path.join(state, name);
    await until(`${name} is empty`, () => readdirSync(directory).length === 0);
  }
  await until("no root is left", () => readdirSync(path.join(root, "roots")).length === 0);
  // Without the records, davit does not know who created the cgroup. It leaves it, empty.
  for (const directory of cgroupsThere(parentOf(pod.config))) rmdirSync(directory);
}

const untilAddressFree = (): Promise<boolean> =>
  until("its address is free", async () => (await takenAddresses(daemon)).length === 0);

/** Checks that the node has no records, and works like a new one. */
async function checkUsable(): Promise<void> {
  assert.deepEqual(await listIds(daemon), []);
  await pull(daemon, busybox);
  const pod = await openPod(daemon, podOf());
  assert.equal((await exec(daemon, await runIn(pod), ["true"])).exitCode, 0);
  await closePod(pod);
}

test(
  "an image whose layers are gone is not there until it is pulled again",
  leaklessAcross(served, async () => {
    const pod = await openPod(daemon, podOf());
    const running = await runIn(pod);
    const layers = path.join(daemon.paths.root, "layers");
    await daemon.stop();
    for (const name of readdirSync(layers).filter((each) => each !== ".empty")) {
      rmSync(path.join(layers, name), { recursive: true });
    }
    const from = daemon.lines.length;
    await launchDaemon(daemon);
    await daemon.waitForLine(/forgot an image that lacks a layer; pull it again/, from);
    assert.equal(await imageStatus(daemon, busybox), undefined);
    await assert.rejects(
      createIn(pod),
      failsWith(code.notFound, /is not present on this node; pull it first/),
    );
    assert.equal((await containerStatus(daemon, running)).state, RUNNING);
    await stop(daemon, running);
    await pull(daemon, busybox);
    assert.equal((await exec(daemon, await runIn(pod), ["true"])).exitCode, 0);
    await closePod(pod);
  }),
);

test(
  "without the state directory pods are NOTREADY, and can be stopped and removed with what runs in them",
  leaklessAcross(served, async () => {
    const it = await living();
    await daemon.stop();
    await deleteDirectory(daemon.paths.state);
    await launchDaemon(daemon);
    assert.equal((await statusOf(daemon, it.pod.id)).state, NOTREADY);
    assert.equal((await containerStatus(daemon, it.id)).state, RUNNING);
    await stopPod(daemon, it.pod.id);
    assert.equal((await containerStatus(daemon, it.id)).state, EXITED);
    assert.ok(!it.pids.some(isThere));
    await closePod(it.pod);
    await checkUsable();
  }),
);

test(
  "without the state directory a pod with only the host's namespaces is NOTREADY, too",
  leaklessAcross(served, async () => {
    const pod = await openPod(daemon, podOf({ network: NODE, ipc: NODE, pid: NODE }));
    await daemon.stop();
    await deleteDirectory(daemon.paths.state);
    await launchDaemon(daemon);
    assert.equal((await statusOf(daemon, pod.id)).state, NOTREADY);
    await closePod(pod);
  }),
);

test("without the root directory everything that ran is ended, since no record is left", async () => {
  const it = await living();
  await daemon.stop();
  await deleteDirectory(daemon.paths.root);
  await launchDaemon(daemon);
  await untilSwept(it);
  // Its address stays allocated, because the attachment notes were in the root.
  for (const address of await takenAddresses(daemon)) {
    rmSync(path.join(daemon.paths.ipamDir, "davit-test", address));
  }
  await checkUsable();
});

describe("a database that is damaged while no daemon runs", () => {
  const file = (suffix = ""): string => path.join(daemon.paths.root, `davit.db${suffix}`);
  const write = (at: number, text: string): void => {
    const fd = openSync(file(), "r+");
    writeSync(fd, text, at);
    closeSync(fd);
  };
  const damages: Readonly<Record<string, () => void>> = {
    "cut short": () => {
      truncateSync(file(), 5000);
    },
    "with a damaged header": () => {
      write(0, "garbage ".repeat(8));
    },
    "with damaged pages": () => {
      for (let at = 4096; at < statSync(file()).size; at += 4096) write(at, "garbage ".repeat(64));
    },
  };
  for (const [what, damage] of Object.entries(damages)) {
    test(`${what}: the daemon says so, begins again, and ends what ran`, async () => {
      const it = await living();
      await daemon.stop();
      damage();
      const from = daemon.lines.length;
      await launchDaemon(daemon);
      const line = await daemon.waitForLine(/database is damaged; moved it aside/, from);
      assert.ok(existsSync(String(line.fields["movedTo"])));
      await untilSwept(it);
      await untilAddressFree();
      await checkUsable();
    });
  }

  test("whose log was deleted: what is not in its records is ended", async () => {
    const it = await living();
    await daemon.kill9();
    for (const suffix of ["-wal", "-shm"]) rmSync(file(suffix), { force: true });
    await launchDaemon(daemon);
    // A checkpoint may have been made just before.
    for (const id of await listIds(daemon)) await closePod({ ...it.pod, id });
    await untilSwept(it);
    await untilAddressFree();
    await checkUsable();
  });
});
