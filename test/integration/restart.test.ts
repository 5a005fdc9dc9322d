/** What a daemon finds when it starts again: pods that kept running, pods that died, a reboot. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { bridgeConflist, ScriptedPlugin } from "../support/cni.ts";
import { TestDaemon } from "../support/daemon.ts";
import { mountNames, readMounts } from "../support/snapshot/files.ts";
import {
  CONTAINER,
  code,
  endDaemon,
  failsWith,
  fileOf,
  holderOf,
  infoOf,
  launchDaemon,
  leaklessAcross,
  listIds,
  mountAt,
  NODE,
  NOTREADY,
  output,
  pinsOf,
  POD,
  pod,
  READY,
  removeBridge,
  removePod,
  runPod,
  runtimeFact,
  startDaemon,
  statusOf,
  stopPod,
  takenAddresses,
  until,
  withPod,
} from "../support/suites/pods.ts";

let daemon: TestDaemon;
const served = (): TestDaemon => daemon;

before(async () => {
  daemon = await startDaemon();
  await withPod(daemon, pod(), async () => undefined);
});
after(() => endDaemon(daemon));

const kinds = {
  "network, holder": { pid: POD },
  "network, no holder": { pid: CONTAINER },
  "host network, holder": { network: NODE, pid: POD },
  "host network, no process": { network: NODE, pid: NODE },
  "nothing of its own": { network: NODE, pid: CONTAINER, ipc: NODE },
} as const;

/** The whole list and every status, as a client sees them. */
async function seen(): Promise<unknown> {
  const { items } = await daemon.client.runtime.listPodSandbox({});
  return Promise.all(items.map(async (item) => [item, await statusOf(daemon, item.id)]));
}

async function end(how: "stop" | "kill -9"): Promise<void> {
  if (how === "stop") await daemon.stop();
  else await daemon.kill9();
}

async function removeAll(): Promise<void> {
  for (const id of await listIds(daemon)) {
    await stopPod(daemon, id);
    await removePod(daemon, id);
  }
}

describe("after a restart", () => {
  for (const how of ["stop", "kill -9"] as const) {
    test(
      `by ${how} every pod is unchanged, and still watched`,
      leaklessAcross(served, async () => {
        const ids: string[] = [];
        for (const modes of Object.values(kinds)) ids.push(await runPod(daemon, pod(modes)));
        const stopped = await runPod(daemon, pod({ pid: POD }));
        await stopPod(daemon, stopped);
        const [first = "", second = ""] = ids;
        const holder = await holderOf(daemon, first);
        const beforehand = await seen();
        await end(how);
        assert.ok(existsSync(`/proc/${holder}`));
        await launchDaemon(daemon);
        assert.deepEqual(await seen(), beforehand);
        assert.equal(await holderOf(daemon, first), holder);

        // Both ways of dying are noticed as before.
        process.kill(holder, "SIGKILL");
        await until(
          "its death is seen",
          async () => (await statusOf(daemon, first)).state === NOTREADY,
          2000,
        );
        await output(
          "nsenter",
          `--mount=/proc/${daemon.pid}/ns/mnt`,
          "umount",
          pinsOf(daemon, second).net,
        );
        await until(
          "its end is seen",
          async () => (await statusOf(daemon, second)).state === NOTREADY,
          2000,
        );
        assert.equal((await statusOf(daemon, second)).network?.ip, "");
        await removeAll();
        assert.deepEqual(await takenAddresses(daemon), []);
      }),
    );
  }

  test(
    "a pod whose holder died meanwhile is NOTREADY at once, and its address is not another's",
    leaklessAcross(served, async () => {
      const id = await runPod(daemon, pod({ pid: POD }));
      const begun = await statusOf(daemon, id);
      const holder = await holderOf(daemon, id);
      await daemon.kill9();
      process.kill(holder, "SIGKILL");
      await until("the holder is gone", () => !existsSync(`/proc/${holder}`));
      await launchDaemon(daemon);
      const status = await statusOf(daemon, id);
      assert.deepEqual({ ...status, state: READY }, begun);
      assert.equal(status.state, NOTREADY);
      assert.match(String((await infoOf(daemon, id))["reason"]), /PID namespace/);
      // It stays dead after all of these restarts.
      await daemon.stop();
      await launchDaemon(daemon);
      assert.deepEqual(await statusOf(daemon, id), status);
      await withPod(daemon, pod(), async (other) => {
        assert.notEqual((await statusOf(daemon, other)).network?.ip, begun.network?.ip);
      });
      await removeAll();
    }),
  );

  test(
    "a pod whose network namespace was removed meanwhile is NOTREADY without an address",
    leaklessAcross(served, async () => {
      const id = await runPod(daemon, pod());
      await daemon.stop();
      await output("umount", pinsOf(daemon, id).net);
      await launchDaemon(daemon);
      const status = await statusOf(daemon, id);
      assert.equal(status.state, NOTREADY);
      assert.equal(status.network?.ip, "");
      assert.match(String((await infoOf(daemon, id))["reason"]), /net namespace/);
      await removeAll();
      assert.deepEqual(await takenAddresses(daemon), []);
    }),
  );

  test(
    "a name in use stays in use",
    leaklessAcross(served, async () => {
      const config = pod({ network: NODE });
      const id = await runPod(daemon, config);
      await daemon.kill9();
      await launchDaemon(daemon);
      await assert.rejects(runPod(daemon, config), failsWith(code.alreadyExists, new RegExp(id)));
      await removeAll();
    }),
  );

  test(
    "the last daemon's shared mounts are used again, not stacked",
    leaklessAcross(served, async () => {
      const id = await runPod(daemon, pod());
      const mounts = (): readonly string[] =>
        mountNames(readMounts()).filter((name) => name.includes(daemon.paths.state));
      const beforehand = mounts();
      for (let count = 0; count < 3; count++) {
        await daemon.kill9();
        await launchDaemon(daemon);
      }
      assert.deepEqual(mounts(), beforehand);
      await removePod(daemon, id);
    }),
  );
});

describe("after a reboot", () => {
  const rebooted = { DAVIT_BOOT_ID: "01234567-89ab-cdef-0123-456789abcdef" };

  /** Takes away what no reboot spares: processes, mounts and cgroups. Files stay, as on a real disk. */
  async function powerCut(ids: readonly string[]): Promise<void> {
    const holders = await Promise.all(ids.map(async (id) => (await infoOf(daemon, id))["pid"]));
    await daemon.kill9();
    for (const pid of holders) if (typeof pid === "number" && pid > 0) process.kill(pid, "SIGKILL");
    for (const id of ids) {
      const files = ["shm", "."].map((name) => fileOf(daemon, id, name));
      for (const target of [...Object.values(pinsOf(daemon, id)), ...files]) {
        if (mountAt(target) !== undefined) await output("umount", target);
      }
    }
  }

  test(
    "all pods are NOTREADY, their addresses are free, and Stop and Remove work",
    leaklessAcross(served, async () => {
      const ids: string[] = [];
      for (const modes of Object.values(kinds)) ids.push(await runPod(daemon, pod(modes)));
      assert.equal((await takenAddresses(daemon)).length, 2);
      const created = await Promise.all(
        ids.map(async (id) => (await statusOf(daemon, id)).createdAt),
      );
      await powerCut(ids);
      for (const id of ids.slice(0, 2)) {
        assert.ok(existsSync(pinsOf(daemon, id).net), "the file of the pin outlives the mount");
      }
      await launchDaemon(daemon, rebooted);
      for (const [at, id] of ids.entries()) {
        const status = await statusOf(daemon, id);
        assert.equal(status.state, NOTREADY);
        assert.equal(status.network?.ip, "");
        assert.equal(status.createdAt, created[at]);
        assert.match(String((await infoOf(daemon, id))["reason"]), /rebooted/);
      }
      await until(
        "the addresses are free",
        async () => (await takenAddresses(daemon)).length === 0,
      );
      await withPod(daemon, pod(), async (id) => {
        assert.equal((await statusOf(daemon, id)).state, READY);
      });
      await removeAll();
      await daemon.stop();
      await launchDaemon(daemon);
    }),
  );

  test("the network is removed with an empty CNI_NETNS, by the configuration of the pod's start", async () => {
    await using own = await startWithScripted();
    const { plugin, other } = own;
    const id = await runPod(other, pod({ pid: POD }));
    const holder = await holderOf(other, id);
    await other.kill9();
    process.kill(holder, "SIGKILL");
    await launchDaemon(other, rebooted);
    const [call] = await plugin.waitForCalls("DEL");
    assert.equal(call?.env["CNI_NETNS"], "");
    assert.equal(call.env["CNI_CONTAINERID"], id);
    assert.equal((await statusOf(other, id)).state, NOTREADY);
    await until("the queue is empty", async () => {
      const pending = (await runtimeFact(other, "pendingNetworkRemovals")) as unknown[];
      return pending.length === 0;
    });
    await stopPod(other, id);
    await removePod(other, id);
    assert.equal(plugin.calls("DEL").length, 1);
  });
});

async function startWithScripted() {
  const directory = await output("mktemp", "-d", "-t", "davit-plugin-XXXXXX");
  const plugin = new ScriptedPlugin(directory.trim());
  const other = await startDaemon({
    pluginDirs: [plugin.binDir],
    conflist: { cniVersion: "1.0.0", name: "scripted", plugins: [{ type: plugin.type }] },
  });
  return {
    plugin,
    other,
    [Symbol.asyncDispose]: async () => {
      await endDaemon(other);
      await output("rm", "-r", directory.trim());
    },
  };
}

describe("a daemon that ends", () => {
  test("leaves no mount, no process and no file of its own in the state directory", async () => {
    const other = TestDaemon.prepare({
      conflist: bridgeConflist({ ipamDir: daemon.paths.ipamDir, bridge: "dvt1" }),
    });
    await launchDaemon(other);
    await withPod(other, pod({ pid: POD }), async () => undefined);
    await other.stop();
    assert.deepEqual(
      readMounts().filter(({ target }) => target.startsWith(other.paths.directory)),
      [],
    );
    await other[Symbol.asyncDispose]();
    await removeBridge("dvt1");
  });
});
