/** The pod network through the socket: with real plugins, with plugins that fail, and without a configuration. */
// variants: plugins
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { type PodSandboxConfig, Protocol } from "../../src/gen/runtime/v1/api_pb.ts";
import { bridgeConflist, type Conflist, ScriptedPlugin, writeConflist } from "../support/cni.ts";
import type { TestDaemon } from "../support/daemon.ts";
import {
  code,
  endDaemon,
  failsWith,
  inside,
  launchDaemon,
  leakless,
  listIds,
  NODE,
  NOTREADY,
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
import { patient } from "../support/patience.ts";

interface Condition {
  readonly status: boolean;
  readonly reason: string;
  readonly message: string;
}

async function networkReady(daemon: TestDaemon): Promise<Condition> {
  const { status } = await daemon.client.runtime.status({});
  const found = status?.conditions.find(({ type }) => type === "NetworkReady");
  assert.ok(found !== undefined);
  return found;
}

async function ruleset(): Promise<string> {
  const [rules, nft] = await Promise.all([
    output("iptables-save"),
    output("nft", "list", "ruleset"),
  ]);
  return `${rules}\n${nft}`;
}

describe("bridge and portmap", () => {
  let daemon: TestDaemon;
  const served = (): TestDaemon => daemon;
  before(async () => {
    daemon = await startDaemon({ subnets: ["10.92.0.0/16", "fd00:92::/64"] });
    const portMappings = [{ containerPort: 80, hostPort: 18_079 }];
    await withPod(daemon, pod({}, { portMappings }), async () => undefined);
  });
  after(() => endDaemon(daemon));

  test("are carried out by davit, and by the plugins in the variant of that name", async () => {
    const { info } = await daemon.client.runtime.status({ verbose: true });
    const expected =
      process.env["DAVIT_TEST_CNI_BUILTIN"] === "off"
        ? { inForce: false, reason: "cni.builtin is false" }
        : { inForce: true };
    assert.deepEqual(JSON.parse(info["builtinNetwork"] ?? ""), expected);
  });

  test(
    "lead host ports into the pod, and leave no rule behind",
    leakless(served, async () => {
      const portMappings = [
        { containerPort: 80, hostPort: 18_080, protocol: Protocol.TCP, hostIp: "" },
        { containerPort: 53, hostPort: 18_053, protocol: Protocol.UDP, hostIp: "127.0.0.1" },
        { containerPort: 81, hostPort: 0, protocol: Protocol.TCP, hostIp: "" },
      ];
      const id = await runPod(daemon, pod({}, { portMappings }));
      const { network } = await statusOf(daemon, id);
      const rules = await ruleset();
      assert.match(rules, /18080/);
      assert.match(rules, /18053/);
      assert.ok(rules.includes(`${network?.ip ?? ""}:80`), rules);
      assert.doesNotMatch(rules, /:81\b/);
      await stopPod(daemon, id);
      assert.doesNotMatch(await ruleset(), /180(80|53)/);
      await removePod(daemon, id);
    }),
  );

  test(
    "give a dual-stack pod both addresses, IPv4 first as the conflist has it",
    leakless(served, () =>
      withPod(daemon, pod(), async (id) => {
        const { network } = await statusOf(daemon, id);
        assert.match(network?.ip ?? "", /^10\.92\./);
        assert.deepEqual(
          network?.additionalIps.map(({ ip }) => ip.slice(0, 8)),
          ["fd00:92:"],
        );
        const addresses = await inside(daemon, id, ["net"], "ip", "-6", "address", "show", "eth0");
        assert.ok(addresses.includes(network.additionalIps[0]?.ip ?? "nothing"));
        assert.equal((await takenAddresses(daemon)).length, 2);
      }),
    ),
  );

  test(
    "are not called for a pod on the host's network",
    leakless(served, () =>
      withPod(daemon, pod({ network: NODE }), async (id) => {
        const { network } = await statusOf(daemon, id);
        assert.equal(network?.ip, "");
        assert.deepEqual(network.additionalIps, []);
        assert.deepEqual(await takenAddresses(daemon), []);
      }),
    ),
  );

  test(
    "give every address back after 12 pods, one after the other",
    leakless(served, async () => {
      for (let count = 0; count < 12; count++) await removePod(daemon, await runPod(daemon, pod()));
      assert.deepEqual(await takenAddresses(daemon), []);
    }),
  );
});

describe("without a network configuration", () => {
  let daemon: TestDaemon;
  const served = (): TestDaemon => daemon;
  before(async () => {
    daemon = await startDaemon({ conflist: null });
  });
  after(() => endDaemon(daemon));

  test(
    "the node says why it is not ready, and a pod fails with a clear error and leaves nothing",
    leakless(served, async () => {
      const condition = await networkReady(daemon);
      assert.equal(condition.status, false);
      assert.equal(condition.reason, "NetworkPluginNotReady");
      assert.ok(condition.message.includes(daemon.paths.confDir), condition.message);
      assert.notEqual(await runtimeFact(daemon, "lastCNILoadStatus").catch(() => "not JSON"), "OK");
      await assert.rejects(
        runPod(daemon, pod()),
        failsWith(code.unavailable, new RegExp(daemon.paths.confDir)),
      );
      assert.deepEqual(await listIds(daemon), []);
      // Pods on the host network, such as the network plugin itself, must not wait for it.
      await withPod(daemon, pod({ network: NODE }), async () => undefined);
    }),
  );

  test("pods run as soon as there is one", async () => {
    const { confDir, ipamDir } = daemon.paths;
    writeConflist(confDir, "10-late.conflist", bridgeConflist({ ipamDir }));
    await until("the network is ready", async () => (await networkReady(daemon)).status);
    await withPod(daemon, pod(), async (id) => {
      assert.equal((await statusOf(daemon, id)).state, READY);
    });
    rmSync(path.join(confDir, "10-late.conflist"));
    await until("the network is gone", async () => !(await networkReady(daemon)).status);
  });

  test("the error for a conflist with a missing plugin names the plugin", async () => {
    const conflist: Conflist = { cniVersion: "1.0.0", name: "odd", plugins: [{ type: "no-such" }] };
    writeConflist(daemon.paths.confDir, "10-odd.conflist", conflist);
    const said = await until("the reason names it", async () => {
      const { message } = await networkReady(daemon);
      return message.includes("no-such") && message;
    });
    assert.match(said, /"odd"/);
    rmSync(path.join(daemon.paths.confDir, "10-odd.conflist"));
  });
});

describe("a plugin that misbehaves", () => {
  let daemon: TestDaemon;
  let plugin: ScriptedPlugin;
  let directory: string;
  const served = (): TestDaemon => daemon;

  before(async () => {
    directory = mkdtempSync(path.join(tmpdir(), "davit-plugin-"));
    plugin = new ScriptedPlugin(directory);
    daemon = await startDaemon({
      pluginDirs: [plugin.binDir],
      config: { cni: { plugin_timeout_seconds: 1 } },
      conflist: {
        cniVersion: "1.0.0",
        name: "scripted",
        plugins: [{ type: plugin.type, capabilities: { ipRanges: true, portMappings: true } }],
      },
    });
  });
  after(async () => {
    plugin.on("DEL", { does: "succeed" });
    await endDaemon(daemon);
    rmSync(directory, { recursive: true });
  });

  async function failThenRun(
    config: PodSandboxConfig,
    wanted: number,
    words: RegExp,
  ): Promise<void> {
    const begin = performance.now();
    await assert.rejects(runPod(daemon, config), failsWith(wanted, words));
    assert.ok(performance.now() - begin < patient(8000));
    assert.deepEqual(await listIds(daemon), []);
    plugin.on("ADD", { does: "succeed" });
    await withPod(daemon, config, async (id) => {
      assert.equal((await statusOf(daemon, id)).network?.ip, "10.93.0.2");
    });
  }

  test(
    "fails ADD: the pod fails with its message, leaves nothing, and its name is free",
    leakless(served, async () => {
      plugin.on("ADD", {
        does: "fail",
        error: { code: 100, msg: "no more addresses", details: "in 10.93/24" },
      });
      const deleted = plugin.calls("DEL").length;
      await failThenRun(pod(), code.internal, /stage .*no more addresses/);
      // The plugin gets DEL twice: after the failed ADD, and for the pod.
      assert.equal(plugin.calls("DEL").length, deleted + 2);
    }),
  );

  test(
    "answers ADD with invalid output",
    leakless(served, async () => {
      plugin.on("ADD", { does: "print", stdout: "rubbish", exitCode: 0 });
      await failThenRun(pod(), code.internal, /scripted/);
    }),
  );

  test(
    "gives no address",
    leakless(served, async () => {
      plugin.on("ADD", {
        does: "succeed",
        result: { cniVersion: "1.0.0", interfaces: [], ips: [] },
      });
      await failThenRun(pod(), code.internal, /address/);
    }),
  );

  test(
    "dies in ADD",
    leakless(served, async () => {
      plugin.on("ADD", { does: "die" });
      await failThenRun(pod(), code.internal, /SIGKILL|signal/);
    }),
  );

  test(
    "hangs in ADD: it is killed in time, with its children",
    leakless(served, async () => {
      plugin.on("ADD", { does: "hang", withGrandchild: true });
      await failThenRun(pod(), code.deadlineExceeded, /stage .*1 s/);
    }),
  );

  test(
    "hangs in DEL: Stop fails in time, and succeeds when the plugin works again",
    leakless(served, async () => {
      const id = await runPod(daemon, pod());
      plugin.on("DEL", { does: "hang" });
      await assert.rejects(
        stopPod(daemon, id),
        failsWith(code.deadlineExceeded, /did not end within 1 s/),
      );
      plugin.on("DEL", { does: "succeed" });
      await stopPod(daemon, id);
      await removePod(daemon, id);
    }),
  );

  test(
    "fails DEL: two Stops fail, the third succeeds and leaves the removal to the queue",
    leakless(served, async () => {
      const config = pod();
      const id = await runPod(daemon, config);
      plugin.on("DEL", { does: "fail", error: { code: 11, msg: "switch is rebooting" } });
      for (const count of [1, 2]) {
        await assert.rejects(
          stopPod(daemon, id),
          failsWith(code.unavailable, /switch is rebooting/),
        );
        assert.equal((await statusOf(daemon, id)).state, NOTREADY);
        const [removal] = await pending();
        assert.equal(removal?.sandboxId, id);
        assert.equal(removal.tries, count);
      }
      await stopPod(daemon, id);
      assert.equal(existsSync(pinsOf(daemon, id).net), false);
      await removePod(daemon, id);
      const [removal, ...others] = await pending();
      assert.deepEqual(others, []);
      assert.equal(removal?.sandboxId, id);
      assert.match(removal.lastError, /switch is rebooting/);
      assert.equal(new Date(removal.since).toISOString(), removal.since);

      plugin.on("DEL", { does: "succeed" });
      const calls = plugin.calls("DEL").length;
      await until("the queue is empty", async () => (await pending()).length === 0);
      // The Stop removed the namespace, so the specification requires an empty CNI_NETNS.
      const [call] = plugin.calls("DEL").slice(calls);
      assert.equal(call?.env["CNI_NETNS"], "");
      assert.equal(call.env["CNI_CONTAINERID"], id);
      await withPod(daemon, config, async () => undefined);
    }),
  );

  test("fails DEL until a restart: the queue is on disk and tried at the start", async () => {
    const id = await runPod(daemon, pod());
    plugin.on("DEL", { does: "fail", error: { code: 11, msg: "still rebooting" } });
    for (let count = 0; count < 2; count++)
      await assert.rejects(stopPod(daemon, id), /still rebooting/);
    await removePod(daemon, id);
    assert.equal((await pending()).length, 1);
    await daemon.kill9();
    plugin.on("DEL", { does: "succeed" });
    const calls = plugin.calls("DEL").length;
    await launchDaemon(daemon);
    await until("the queue is empty", async () => (await pending()).length === 0);
    assert.equal(plugin.calls("DEL").slice(calls)[0]?.env["CNI_CONTAINERID"], id);
  });

  const set = (podCidr: string) =>
    daemon.client.runtime.updateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });

  test(
    "is told the pod, its ports and the node's pod CIDRs",
    leakless(served, async () => {
      await assert.rejects(set("10.0.0.0/33"), failsWith(code.invalidArgument, /10\.0\.0\.0\/33/));
      await set("10.244.1.0/24,fd00:1::/64");
      await set("");
      const portMappings = [{ containerPort: 80, hostPort: 8080 }];
      const config = pod({}, { portMappings });
      const from = plugin.calls("ADD").length;
      await withPod(daemon, config, async (id) => {
        const call = plugin.calls("ADD")[from];
        assert.equal(call?.env["CNI_CONTAINERID"], id);
        assert.equal(call.env["CNI_IFNAME"], "eth0");
        assert.equal(call.env["CNI_NETNS"], pinsOf(daemon, id).net);
        const { name = "", namespace = "", uid = "" } = config.metadata ?? {};
        for (const wanted of [
          `K8S_POD_NAME=${name}`,
          `K8S_POD_NAMESPACE=${namespace}`,
          `K8S_POD_UID=${uid}`,
          `K8S_POD_INFRA_CONTAINER_ID=${id}`,
        ]) {
          assert.ok(call.env["CNI_ARGS"]?.split(";").includes(wanted), call.env["CNI_ARGS"]);
        }
        assert.deepEqual(call.config["runtimeConfig"], {
          portMappings: [{ hostPort: 8080, containerPort: 80, protocol: "tcp" }],
          ipRanges: [[{ subnet: "10.244.1.0/24" }], [{ subnet: "fd00:1::/64" }]],
        });
      });
    }),
  );

  test("is told the pod CIDRs by the next daemon, to which kubelet does not send them", async () => {
    await set("10.244.2.0/24");
    await daemon.kill9();
    await launchDaemon(daemon);
    const from = plugin.calls("ADD").length;
    await withPod(daemon, pod(), async () => undefined);
    const { runtimeConfig } = plugin.calls("ADD")[from]?.config ?? {};
    assert.deepEqual(runtimeConfig, { ipRanges: [[{ subnet: "10.244.2.0/24" }]] });
  });

  interface Pending {
    readonly sandboxId: string;
    readonly tries: number;
    readonly lastError: string;
    readonly since: string;
  }

  async function pending(): Promise<readonly Pending[]> {
    return (await runtimeFact(daemon, "pendingNetworkRemovals")) as readonly Pending[];
  }
});
