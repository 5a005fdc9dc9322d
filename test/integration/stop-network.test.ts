/** The removal of pod networks: plugins that fail, and addresses whose records were lost. */
// variants: plugins
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, beforeEach, describe, test } from "node:test";
import type { PodSandboxConfig } from "../../src/gen/runtime/v1/api_pb.ts";
import { type PluginCall, ScriptedPlugin, writeConflist } from "../support/cni.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  endDaemon,
  launchDaemon,
  leakless,
  listIds,
  NOTREADY,
  openDatabase,
  output,
  pinsOf,
  pod,
  READY,
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

async function pending(daemon: TestDaemon): Promise<readonly { readonly sandboxId: string }[]> {
  return (await runtimeFact(daemon, "pendingNetworkRemovals")) as { readonly sandboxId: string }[];
}

/** A pod whose cgroup is found by its id alone, when its record is lost: `/davit/ID`. */
function findable(changes: Parameters<typeof pod>[1] = {}): PodSandboxConfig {
  const config = pod({}, changes);
  if (config.linux !== undefined) config.linux.cgroupParent = "";
  return config;
}

const nothingPends = (daemon: TestDaemon): Promise<unknown> =>
  until("no removal is pending", async () => (await pending(daemon)).length === 0);

describe("a database that is lost", () => {
  let daemon: TestDaemon;
  before(async () => {
    daemon = await startDaemon();
  });
  after(() => endDaemon(daemon));

  const notes = (): readonly string[] => readdirSync(path.join(daemon.paths.root, "attachments"));

  function loseDatabase(): void {
    for (const name of readdirSync(daemon.paths.root)) {
      if (name.startsWith("davit.db")) rmSync(path.join(daemon.paths.root, name));
    }
  }

  test("leaks no address of running or stopped pods, and releases no address of another runtime", async () => {
    const portMappings = [{ containerPort: 80, hostPort: 18_085 }];
    const ids = [
      await runPod(daemon, findable({ portMappings })),
      await runPod(daemon, findable()),
      await runPod(daemon, findable()),
    ];
    await stopPod(daemon, ids[2] ?? "");
    assert.equal((await takenAddresses(daemon)).length, 2);
    assert.deepEqual([...notes()].sort(), ids.slice(0, 2).sort());
    // Another runtime's container on the same network, as host-local writes it.
    const network = path.join(daemon.paths.ipamDir, "davit-test");
    const foreign = path.join(network, "10.92.9.9");
    writeFileSync(foreign, `${"f".repeat(64)}\r\neth0`);

    await daemon.kill9();
    loseDatabase();
    await launchDaemon(daemon);
    assert.deepEqual(await listIds(daemon), []);
    await until("the addresses are free", async () => (await takenAddresses(daemon)).length === 1);
    await nothingPends(daemon);
    assert.deepEqual(await takenAddresses(daemon), ["10.92.9.9"]);
    assert.deepEqual(notes(), []);
    assert.doesNotMatch(await output("iptables-save"), /18085/);
    rmSync(foreign);
    await withPod(daemon, pod(), async (id) => {
      assert.deepEqual(notes(), [id]);
    });
    assert.deepEqual(notes(), []);
  });

  test("does not lose a pending network removal, not even after another restart", async () => {
    const id = await runPod(daemon, findable());
    const plugins = path.join(daemon.paths.directory, "no-plugins");
    mkdirSync(plugins);
    await daemon.kill9();
    loseDatabase();
    // davit itself would need no plugins.
    daemon.writeConfig({ cni: { bin_dirs: [plugins], builtin: false } });
    await launchDaemon(daemon);
    const removal = await until("the removal is pending", async () => (await pending(daemon))[0]);
    assert.equal(removal.sandboxId, id);
    await daemon.kill9();
    daemon.writeConfig({});
    await launchDaemon(daemon);
    await nothingPends(daemon);
    assert.deepEqual(await takenAddresses(daemon), []);
    assert.deepEqual(notes(), []);
  });
});

describe("a plugin at the end of a pod", () => {
  let daemon: TestDaemon;
  let plugin: ScriptedPlugin;
  let directory: string;
  const served = (): TestDaemon => daemon;
  const conflist = (cniVersion: string, name = "scripted") => ({
    cniVersion,
    name,
    plugins: [{ type: plugin.type, mark: name }],
  });

  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), "davit-plugin-"));
    plugin = new ScriptedPlugin(directory);
    daemon = await startDaemon({
      pluginDirs: [plugin.binDir],
      config: { cni: { plugin_timeout_seconds: 2 } },
      conflist: conflist("1.0.0"),
    });
  });
  beforeEach(() => {
    for (const command of ["ADD", "DEL", "GC"]) plugin.on(command, { does: "succeed" });
  });
  after(async () => {
    plugin.on("DEL", { does: "succeed" });
    await endDaemon(daemon);
    rmSync(directory, { recursive: true });
  });

  /** Stops a pod until the queue has its network, then lets the plugin do its work. */
  async function untilQueued(id: string, words: RegExp, fix: () => void): Promise<void> {
    for (let tries = 0; tries < 2; tries++) await assert.rejects(stopPod(daemon, id), words);
    await stopPod(daemon, id);
    assert.equal((await statusOf(daemon, id)).state, NOTREADY);
    await removePod(daemon, id);
    assert.equal((await pending(daemon))[0]?.sandboxId, id);
    fix();
    await nothingPends(daemon);
  }

  test(
    "that hangs with a child process is killed with it, and the queue takes over",
    leakless(served, async () => {
      const id = await runPod(daemon, pod());
      plugin.on("DEL", { does: "hang", withGrandchild: true });
      await untilQueued(id, /did not end within 2 s and was killed/, () => {
        plugin.on("DEL", { does: "succeed" });
      });
    }),
  );

  test(
    "that hangs for many pods keeps no new pod from starting",
    leakless(served, async () => {
      const ids = await Promise.all(Array.from({ length: 10 }, () => runPod(daemon, pod())));
      plugin.on("DEL", { does: "hang" });
      const from = plugin.calls("DEL").length;
      let stopped = 0;
      const stops = ids.map((id) =>
        assert.rejects(stopPod(daemon, id), /did not end within 2 s/).finally(() => (stopped += 1)),
      );
      await until("some hang", () => plugin.calls("DEL").length > from);
      const fresh = await runPod(daemon, pod());
      assert.equal((await statusOf(daemon, fresh)).state, READY);
      assert.ok(stopped < ids.length, "the new pod had to wait for all of them");
      await Promise.all(stops);
      plugin.on("DEL", { does: "succeed" });
      await Promise.all([fresh, ...ids].map((id) => removePod(daemon, id)));
    }),
  );

  for (const [what, behaviour, words] of [
    ["prints rubbish and fails", { does: "print", stdout: "rubbish", exitCode: 1 }, /rubbish/],
    ["is killed", { does: "die" }, /was killed by signal 9/],
  ] as const) {
    test(
      `that ${what} is tried again, and then left to the queue`,
      leakless(served, async () => {
        const id = await runPod(daemon, pod());
        plugin.on("DEL", behaviour);
        await untilQueued(id, words, () => {
          plugin.on("DEL", { does: "succeed" });
        });
      }),
    );
  }

  test(
    "that prints invalid output and exits with 0 has succeeded",
    leakless(served, async () => {
      const id = await runPod(daemon, pod());
      plugin.on("DEL", { does: "print", stdout: "rubbish", exitCode: 0 });
      await stopPod(daemon, id);
      await removePod(daemon, id);
    }),
  );

  test(
    "that no longer exists is named, and the queue waits for it",
    leakless(served, async () => {
      const id = await runPod(daemon, pod());
      const file = path.join(plugin.binDir, plugin.type);
      renameSync(file, `${file}.gone`);
      await untilQueued(id, /plugin "scripted" is not in .*install it there/, () => {
        renameSync(`${file}.gone`, file);
      });
    }),
  );

  test(
    "is called with the pod's conflist, even if that was changed or deleted meanwhile",
    leakless(served, async () => {
      const { confDir } = daemon.paths;
      for (const change of ["changed", "deleted"]) {
        const id = await runPod(daemon, pod());
        if (change === "deleted") rmSync(path.join(confDir, "10-test.conflist"));
        else writeConflist(confDir, "10-test.conflist", conflist("0.4.0", "other"));
        await until("the daemon has seen it", async () => {
          const { status } = await daemon.client.runtime.status({ verbose: true });
          const cniconfig = JSON.stringify(await runtimeFact(daemon, "cniconfig"));
          return status !== undefined && !cniconfig.includes('"Name":"scripted"');
        });
        const from = plugin.calls("DEL").length;
        await stopPod(daemon, id);
        const [call] = plugin.calls("DEL").slice(from);
        assert.deepEqual([call?.config["name"], call?.config["mark"]], ["scripted", "scripted"]);
        assert.equal(call?.config["cniVersion"], "1.0.0");
        await removePod(daemon, id);
        writeConflist(confDir, "10-test.conflist", conflist("1.0.0"));
        await until("the network is ready", async () =>
          JSON.stringify(await runtimeFact(daemon, "cniconfig")).includes('"Name":"scripted"'),
        );
      }
    }),
  );

  test(
    "gets no namespace if it no longer exists",
    leakless(served, async () => {
      const id = await runPod(daemon, pod());
      await output("umount", pinsOf(daemon, id).net);
      const from = plugin.calls("DEL").length;
      await stopPod(daemon, id);
      assert.equal(plugin.calls("DEL")[from]?.env["CNI_NETNS"], "");
      await removePod(daemon, id);
    }),
  );

  describe("of CNI 1.1.0", () => {
    let from = 0;
    before(async () => {
      await daemon.stop();
      writeConflist(daemon.paths.confDir, "10-test.conflist", conflist("1.1.0"));
      await launchDaemon(daemon);
    });
    beforeEach(() => {
      from = plugin.calls("GC").length;
    });

    const collected = (): readonly PluginCall[] => plugin.calls("GC").slice(from);
    const valid = (call: PluginCall | undefined): unknown =>
      call?.config["cni.dev/valid-attachments"];

    test("gets the list of pods at the start", async () => {
      await withPod(daemon, pod(), async (id) => {
        await daemon.kill9();
        await launchDaemon(daemon);
        await until("GC is called", () => collected().length > 0);
        assert.deepEqual(valid(collected()[0]), [{ containerID: id, ifname: "eth0" }]);
        assert.equal((await statusOf(daemon, id)).state, READY);
      });
    });

    test("is not sent before the pending networks have been removed", async () => {
      await withPod(daemon, pod(), async (alive) => {
        const id = await runPod(daemon, pod());
        plugin.on("DEL", { does: "fail", error: { code: 11, msg: "not now" } });
        for (let tries = 0; tries < 2; tries++)
          await assert.rejects(stopPod(daemon, id), /not now/);
        await removePod(daemon, id);
        await daemon.kill9();
        const deleted = plugin.calls("DEL").length;
        await launchDaemon(daemon);
        await until("DEL is tried", () => plugin.calls("DEL").length > deleted);
        assert.deepEqual(collected(), []);
        plugin.on("DEL", { does: "succeed" });
        await until("GC is called", () => collected().length > 0);
        assert.deepEqual(valid(collected()[0]), [{ containerID: alive, ifname: "eth0" }]);
      });
    });

    test("gets no list if the record of a pod cannot be read", async () => {
      await withPod(daemon, pod(), async () => {
        const lost = await runPod(daemon, findable());
        await daemon.kill9();
        const database = openDatabase(daemon);
        database.prepare("UPDATE sandbox SET state = 'torn' WHERE id = ?").run(lost);
        database.close();
        await launchDaemon(daemon);
        // A GC in progress would delay this.
        await withPod(daemon, pod(), async () => undefined);
        assert.deepEqual(collected(), []);

        await daemon.kill9();
        const again = openDatabase(daemon);
        again.exec("DELETE FROM set_aside");
        again.close();
        await launchDaemon(daemon);
        await until("its network is removed", async () => {
          return (await pending(daemon)).length === 0 && collected().length > 0;
        });
      });
    });

    test("that hangs in GC keeps pods waiting for its timeout and no longer", async () => {
      await withPod(daemon, pod(), async () => {
        plugin.on("GC", { does: "hang", withGrandchild: true });
        await daemon.kill9();
        await launchDaemon(daemon);
        await withPod(daemon, pod(), async () => undefined);
        await daemon.waitForLine(
          /failed to collect garbage of a pod network.*did not end within 2 s/,
        );
      });
    });
  });
});
