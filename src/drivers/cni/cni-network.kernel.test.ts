import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import {
  bridgeConflist,
  type Conflist,
  ScriptedPlugin,
  writeConflist,
} from "../../../test/support/cni.ts";
import { RuntimeError } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import type { Attachment, NetworkRequest, PortForwarding } from "../../core/network/index.ts";
import type { SandboxNetwork } from "../../core/sandbox/index.ts";
import { pinNamespaces, unpinNamespace } from "../../linux/namespace/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { CniNetwork, type CniNetworkOptions } from "./cni-network.ts";
import { execOnHost } from "./plugin-exec.ts";
import { patient } from "../../../test/support/patience.ts";

const pluginDir = "/usr/lib/cni";
const anySignal = new AbortController().signal;
const port: PortForwarding = { hostPort: 18080, containerPort: 80, protocol: "tcp", hostIp: "" };

/** Runs a program to its end and returns what it printed. */
const sh = (file: string, ...args: readonly string[]): string =>
  execFileSync(file, args, { encoding: "utf8" });

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return !readFileSync(`/proc/${pid}/stat`, "utf8").includes(") Z ");
  } catch {
    return false; // gone
  }
};

describe("CniNetwork on this kernel", () => {
  let base: string;
  let confDir: string;
  let ipamDir: string;
  let records: Map<string, Attachment>;
  let networks: CniNetwork[];
  let pins: string[];

  const netnsPath = (id: string): string => path.join(base, `netns-${id}`);
  const ipam = (): readonly string[] =>
    existsSync(path.join(ipamDir, "davit-test"))
      ? readdirSync(path.join(ipamDir, "davit-test")).filter((name) => /^[0-9a-f]+[.:]/.test(name))
      : [];
  const pin = async (id: string): Promise<void> => {
    await pinNamespaces({ net: netnsPath(id) });
    pins.push(netnsPath(id));
  };
  const unpin = async (id: string): Promise<void> => {
    await unpinNamespace(netnsPath(id));
    pins = pins.filter((entry) => entry !== netnsPath(id));
  };
  const open = async (more: Partial<CniNetworkOptions> = {}): Promise<CniNetwork> => {
    const network = await CniNetwork.open({
      confDir,
      binDirs: [pluginDir],
      bootId: "boot-1",
      log: silentLogger,
      rescanIntervalMs: 3_600_000,
      statusIntervalMs: 20,
      ...more,
    });
    networks.push(network);
    return network;
  };
  const add = async (
    network: CniNetwork,
    id: string,
    more: Partial<NetworkRequest> = {},
    signal = anySignal,
  ): Promise<SandboxNetwork> => {
    await pin(id);
    return network.add(
      {
        sandboxId: id,
        netnsPath: netnsPath(id),
        podName: id,
        podNamespace: "default",
        podUid: `uid-${id}`,
        annotations: {},
        portMappings: [],
        dns: { servers: [], searches: [], options: [] },
        cgroupPath: "",
        ...more,
      },
      {
        signal,
        log: silentLogger,
        enter: () => Promise.resolve(),
        undoing: () => Promise.resolve(),
        workOn: () => undefined,
        failedIn: () => undefined,
      },
      (attachment) => void records.set(attachment.sandboxId, attachment),
    );
  };
  const recordOf = (id: string): Attachment => {
    const found = records.get(id);
    assert.ok(found);
    return found;
  };
  const remove = async (network: CniNetwork, id: string): Promise<void> =>
    network.remove(recordOf(id), { signal: anySignal });

  beforeEach(() => {
    base = mkdtempSync(path.join(tmpdir(), "cni-kernel-"));
    confDir = path.join(base, "net.d");
    ipamDir = path.join(base, "ipam");
    records = new Map();
    networks = [];
    pins = [];
  });
  afterEach(async () => {
    for (const network of networks) await network[Symbol.asyncDispose]();
    for (const entry of pins) await unpinNamespace(entry);
    rmSync(base, { recursive: true });
  });

  describe("with bridge, host-local and portmap", () => {
    const subnets = ["10.92.0.0/16"];
    const use = (more: Partial<Conflist> & { readonly subnets?: readonly string[] } = {}): void => {
      const { subnets: ranges = subnets, ...rest } = more;
      const conflist = { ...bridgeConflist({ ipamDir, subnets: ranges }), ...rest };
      writeConflist(confDir, "10-test.conflist", conflist);
    };
    before(() => {
      // portmap needs it, and a new namespace does not have it.
      writeFileSync("/proc/sys/net/ipv4/ip_forward", "1");
    });
    after(() => {
      sh("ip", "link", "delete", "dvt0");
    });

    for (const cniVersion of ["0.3.1", "0.4.0", "1.0.0"]) {
      test(`gives a pod its address and takes it back, by ${cniVersion}`, async () => {
        use({ cniVersion });
        const network = await open();
        const { ips, result } = await add(network, "a");
        assert.match(ips[0] ?? "", /^10\.92\.0\.\d+$/);
        assert.deepEqual(ipam(), ips);
        const inside = sh("nsenter", `--net=${netnsPath("a")}`, "ip", "-4", "addr", "show", "eth0");
        assert.ok(inside.includes(`${ips[0] ?? ""}/16`), inside);
        assert.equal((JSON.parse(result) as { cniVersion: string }).cniVersion, cniVersion);
        await remove(network, "a");
        assert.deepEqual(ipam(), []);
        assert.throws(
          () => sh("nsenter", `--net=${netnsPath("a")}`, "ip", "link", "show", "eth0"),
          /does not exist/,
        );
        await remove(network, "a"); // idempotent
      });
    }

    test("frees the address of a pod whose namespace is gone", async () => {
      use();
      const network = await open();
      await add(network, "a");
      await unpin("a");
      await remove(network, "a");
      assert.deepEqual(ipam(), []);
    });

    test("frees the address after a reboot, where the namespace is a plain file", async () => {
      use();
      await add(await open(), "a");
      await unpin("a");
      writeFileSync(netnsPath("a"), "");
      await remove(await open({ bootId: "boot-2" }), "a");
      assert.deepEqual(ipam(), []);
    });

    test("gives a pod both families, IPv4 first", async () => {
      use({ subnets: ["fd00:92::/64", "10.92.0.0/16"] });
      const network = await open();
      const { ips } = await add(network, "a");
      assert.equal(ips.length, 2);
      assert.match(ips[0] ?? "", /^10\.92\./);
      assert.match(ips[1] ?? "", /^fd00:92::/);
      await remove(network, "a");
      assert.deepEqual(ipam(), []);
    });

    test("opens a host port and leaves no rule of it", async () => {
      use();
      const network = await open();
      const rules = (): string => sh("iptables-save", "-t", "nat");
      await add(network, "a", { portMappings: [port] });
      assert.match(rules(), /-A CNI-DN-\w+ .*--dport 18080/);
      await remove(network, "a");
      assert.doesNotMatch(rules(), /18080|CNI-DN-|CNI-SN-/);
      assert.deepEqual(ipam(), []);
      // The plugin keeps two rules for all ports, which belong to no pod.
      sh("iptables", "-t", "nat", "-F", "CNI-HOSTPORT-MASQ");
      sh("iptables", "-t", "nat", "-F", "CNI-HOSTPORT-SETMARK");
    });

    test("limits the bandwidth that the pod's annotations ask for", async () => {
      const more = [{ type: "bandwidth", capabilities: { bandwidth: true } }];
      use({ plugins: bridgeConflist({ ipamDir, subnets, more }).plugins });
      const network = await open();
      await add(network, "a", { annotations: { "kubernetes.io/ingress-bandwidth": "10M" } });
      assert.match(sh("tc", "qdisc", "show"), /qdisc tbf .* rate 10Mbit/);
      await remove(network, "a");
      assert.doesNotMatch(sh("tc", "qdisc", "show"), /tbf/);
    });

    test("frees everything of an ADD whose second plugin failed", async () => {
      const broken = new ScriptedPlugin(base);
      broken.on("ADD", { does: "fail", error: { code: 11, msg: "not now" } });
      use({ plugins: [...bridgeConflist({ ipamDir, subnets }).plugins, { type: "scripted" }] });
      const network = await open({ binDirs: [broken.binDir, pluginDir] });
      await assert.rejects(add(network, "a"), { kind: "unavailable", message: /not now/ });
      assert.equal(recordOf("a").result, undefined);
      assert.equal(ipam().length, 1);
      await remove(network, "a");
      assert.deepEqual(ipam(), []);
    });

    test("frees the address even if another plugin's DEL fails", async () => {
      const broken = new ScriptedPlugin(base);
      broken.on("DEL", { does: "fail", error: { code: 100, msg: "broken" } });
      use({ plugins: [...bridgeConflist({ ipamDir, subnets }).plugins, { type: "scripted" }] });
      const network = await open({ binDirs: [broken.binDir, pluginDir] });
      await add(network, "a");
      await assert.rejects(remove(network, "a"), /plugin scripted: broken/);
      assert.deepEqual(ipam(), []);
    });

    test("gives 30 pods at once 30 addresses, by 8 plugins at most", async () => {
      use();
      let running = 0;
      let most = 0;
      const network = await open({
        exec: async (call) => {
          most = Math.max(most, ++running);
          return execOnHost(call).finally(() => running--);
        },
      });
      const ids = Array.from({ length: 30 }, (_, at) => `pod${at}`);
      const added = await Promise.all(ids.map((id) => add(network, id)));
      assert.equal(new Set(added.flatMap(({ ips }) => ips)).size, 30);
      assert.equal(most, 8);
      most = 0;
      await Promise.all(ids.map((id) => remove(network, id)));
      assert.equal(most, 8);
      assert.deepEqual(ipam(), []);
    });
  });

  describe("with plugins that misbehave", () => {
    let plugin: ScriptedPlugin;
    const use = (cniVersion = "1.0.0", type = "scripted"): void =>
      writeConflist(confDir, "1.conflist", { cniVersion, name: "net", plugins: [{ type }] });
    const openScripted = (more: Partial<CniNetworkOptions> = {}): Promise<CniNetwork> =>
      open({ binDirs: [plugin.binDir], ...more });

    beforeEach(() => {
      plugin = new ScriptedPlugin(base);
      use();
    });

    test("kills one that hangs at its deadline, and its children", async () => {
      // A shell reports the pids of both, and its child keeps stdout open.
      const script = `#!/bin/sh\nsleep 1000 &\necho $$ $! > ${base}/pids\nwait\n`;
      writeFileSync(path.join(plugin.binDir, "hangs"), script, { mode: 0o755 });
      use("1.0.0", "hangs");
      const network = await openScripted({ pluginTimeoutMs: 300 });
      const began = performance.now();
      await assert.rejects(add(network, "a"), {
        kind: "deadline-exceeded",
        message:
          /add network "net" to sandbox "a": plugin hangs: run ".*hangs": did not end within 0.3 s and was killed/,
      });
      assert.ok(performance.now() - began < patient(3_000));
      const pids = readFileSync(path.join(base, "pids"), "utf8").trim().split(" ").map(Number);
      assert.equal(pids.length, 2);
      await until("both are dead", () => !pids.some(isAlive));
    });

    test("ends with the operation's reason when that is aborted", async () => {
      plugin.on("ADD", { does: "hang", withGrandchild: true });
      const network = await openScripted();
      const controller = new AbortController();
      const adding = add(network, "a", {}, controller.signal);
      adding.catch(() => undefined);
      const [call] = await plugin.waitForCalls("ADD");
      controller.abort(new RuntimeError("aborted", "a Stop came"));
      await assert.rejects(adding, { kind: "aborted", message: /plugin scripted: a Stop came/ });
      await until("the plugin is dead", () => !isAlive(call?.pid ?? 0));
    });

    test("reports garbage, silence and signals", async () => {
      const network = await openScripted();
      plugin.on("ADD", { does: "print", stdout: "hello", exitCode: 0 });
      await assert.rejects(add(network, "a"), /plugin scripted: read its result: parse JSON/);
      plugin.on("ADD", { does: "print", stdout: "", stderr: "panic: x\n", exitCode: 2 });
      await assert.rejects(add(network, "b"), /plugin scripted: exited with code 2: panic: x/);
      plugin.on("ADD", { does: "die" });
      await assert.rejects(add(network, "c"), /plugin scripted: was killed by signal 9/);
    });

    test("survives one that floods its output", async () => {
      const script = "#!/bin/sh\nhead -c 100000000 /dev/zero\n";
      writeFileSync(path.join(plugin.binDir, "floods"), script, { mode: 0o755 });
      use("1.0.0", "floods");
      await assert.rejects(add(await openScripted(), "a"), { kind: "internal" });
    });

    test("ends with a plugin that left a daemon behind on its pipes", async () => {
      const answer = '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24"}]}';
      const script = `#!/bin/sh\nsleep 1000 &\necho $! > ${base}/pid\necho '${answer}'\n`;
      writeFileSync(path.join(plugin.binDir, "forks"), script, { mode: 0o755 });
      use("1.0.0", "forks");
      const { ips } = await add(await openScripted({ pluginTimeoutMs: 5_000 }), "a");
      assert.deepEqual(ips, ["10.0.0.2"]);
      process.kill(Number(readFileSync(path.join(base, "pid"), "utf8")), "SIGKILL");
    });

    test("passes a plugin three descriptors and no others", async () => {
      const script = `#!/bin/sh\nls -l /proc/self/fd > ${base}/fds\necho '{"ips":[{"address":"10.0.0.2/24"}]}'\n`;
      writeFileSync(path.join(plugin.binDir, "lists"), script, { mode: 0o755 });
      use("1.0.0", "lists");
      await add(await openScripted(), "a");
      const fds = readFileSync(path.join(base, "fds"), "utf8").match(/ \d+ -> /g);
      // The fourth is the directory that ls itself reads.
      assert.deepEqual(fds, [" 0 -> ", " 1 -> ", " 2 -> ", " 3 -> "]);
    });

    test("names the missing interpreter or plugin", async () => {
      writeFileSync(path.join(plugin.binDir, "bad"), "#!/no/such/shell\n", { mode: 0o755 });
      use("1.0.0", "bad");
      await assert.rejects(add(await openScripted(), "a"), {
        kind: "failed-precondition",
        message: /plugin bad: start ".*bin\/bad"/,
      });
    });

    test("is ready when STATUS succeeds, and not earlier", async () => {
      plugin.on("STATUS", { does: "fail", error: { code: 50, msg: "daemon is down" } });
      use("1.1.0");
      const network = await openScripted();
      const reason = (): string => {
        const status = network.status();
        return status.ready ? "" : status.reason;
      };
      assert.notEqual(reason(), "");
      await until(
        "the failure is reported",
        () => reason() === 'STATUS of network "net": plugin scripted: daemon is down',
      );
      plugin.on("STATUS", { does: "succeed" });
      await until("it is ready", () => reason() === "");
    });

    test("passes the valid attachments to GC", async () => {
      use("1.1.0");
      const network = await openScripted();
      await network.collect(() => [{ sandboxId: "a", ifName: "eth0" }], { signal: anySignal });
      const [call] = plugin.calls("GC");
      assert.deepEqual(call?.config["cni.dev/valid-attachments"], [
        { containerID: "a", ifname: "eth0" },
      ]);
      assert.equal(call.env["CNI_PATH"], plugin.binDir);
    });

    test("removes with the plugins of the day, after the configuration is gone", async () => {
      const network = await openScripted();
      await add(network, "a");
      rmSync(confDir, { recursive: true });
      await until("it is not ready", () => !network.status().ready);
      await remove(network, "a");
      assert.equal(plugin.calls("DEL").length, 1);
      mkdirSync(confDir);
      use();
      await until("it is ready again", () => network.status().ready);
    });
  });
});
