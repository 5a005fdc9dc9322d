// Rules of the plugins and of davit, side by side: generated configurations, ADD and DEL by one or the other.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, before, describe, test } from "node:test";
import { Random } from "../../../../test/support/random.ts";
import { pinNamespaces, unpinNamespace } from "../../../linux/namespace/index.ts";
import type { CniResult } from "../result.ts";
import { FirewallPlugin } from "./firewall.ts";
import { Iptables, runOnHost } from "./iptables.ts";
import { IptablesMasquerade } from "./masquerade.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";
import { PortmapPlugin } from "./portmap.ts";
import { chainName } from "./rule-text.ts";
import {
  clearRules,
  iptablesDirectory,
  resetRules,
  runPlugin,
  savedRules,
  sh,
} from "./testing/beside-plugins.ts";

const { signal } = new AbortController();
const seed = 20_261_201;

const four = (random: Random): string =>
  `10.${random.between(0, 255)}.${random.between(0, 255)}.${random.between(1, 254)}/${random.pick([16, 24, 29, 32])}`;
const six = (random: Random): string =>
  `2001:db8:${random.between(0, 0xffff).toString(16)}::${random.between(1, 0xffff).toString(16)}/${random.pick([48, 64, 128])}`;

function someResult(random: Random): CniResult {
  const interfaces = [
    { name: "cni0" },
    { name: "veth1" },
    { name: "eth0", sandbox: "/run/netns/x" },
  ];
  const kind = random.pick<readonly (4 | 6)[]>([[4], [4], [6], [4, 6], [6, 4], [4, 4, 6]]);
  const ips = kind.map((family) => ({
    address: family === 4 ? four(random) : six(random),
    ...(random.chance(0.8) && { interface: 2 }),
  }));
  if (random.chance(0.2)) ips.unshift({ address: "192.0.2.77/24", interface: 0 });
  return { cniVersion: "1.0.0", interfaces, ips };
}

function someMapping(random: Random): object {
  const hostIP = random.pick([
    "",
    "",
    "0.0.0.0",
    "::",
    "192.0.2.9",
    "2001:db8::9",
    "2001:DB8:0:0::A",
  ]);
  return {
    hostPort: random.spread(1, 65_535),
    containerPort: random.spread(1, 65_535),
    protocol: random.pick(["tcp", "tcp", "udp", "sctp"]),
    ...(random.chance(0.5) && { hostIP }),
  };
}

function somePortmap(random: Random): Readonly<Record<string, unknown>> {
  const count = random.pick([1, 1, 2, 3, 16, 33]);
  const mappings = Array.from({ length: count }, () => someMapping(random));
  // A pod can ask for the same twice.
  const [first] = mappings;
  if (random.chance(0.1) && first !== undefined) mappings.push({ ...first });
  const marks = random.pick([
    {},
    {},
    { markMasqBit: random.between(0, 31) },
    { externalSetMarkChain: "MARK-IT" },
  ]);
  return {
    name: random.pick(["pods", "a.b_c-d", "N".repeat(60)]),
    type: "portmap",
    cniVersion: "1.0.0",
    ...(random.chance(0.4) && { snat: random.chance(0.5) }),
    ...marks,
    ...(random.chance(0.3) && {
      conditionsV4: random.pick<readonly string[]>([
        ["!", "-d", "192.0.2.0/24"],
        ["-i", "eth0"],
        ["-m", "mark", "--mark", "0x1/0xff"],
      ]),
    }),
    ...(random.chance(0.3) && { conditionsV6: ["!", "-d", "2001:db8:1::/48"] }),
    runtimeConfig: { portMappings: mappings },
  };
}

function someFirewall(random: Random): Readonly<Record<string, unknown>> {
  return {
    name: "pods",
    type: "firewall",
    cniVersion: "1.0.0",
    backend: "iptables",
    ...(random.chance(0.3) && { iptablesAdminChainName: "ADMIN-RULES" }),
    ...(random.chance(0.3) && { ingressPolicy: "open" }),
  };
}

function callOf(conf: PluginCall["conf"], random: Random): PluginCall {
  const hex = Array.from({ length: 64 }, () => random.between(0, 15).toString(16)).join("");
  return { containerId: hex, netns: "/run/netns/x", ifName: "eth0", conf, signal };
}

const onePod: CniResult = { cniVersion: "1.0.0", ips: [{ address: "10.0.0.2/24" }] };

function portsCall(containerId: string, count: number, backend = "iptables"): PluginCall {
  const portMappings = Array.from({ length: count }, (_, at) => ({
    hostPort: 8000 + at,
    containerPort: 80,
    protocol: "tcp",
  }));
  const conf = { name: "pods", type: "portmap", cniVersion: "1.0.0", backend };
  const call = { containerId, netns: "/run/netns/x", ifName: "eth0", signal };
  return { ...call, conf: { ...conf, runtimeConfig: { portMappings } } };
}

interface Side {
  readonly name: string;
  add(call: PluginCall, previous: CniResult): Promise<CniResult>;
  del(call: PluginCall, previous: CniResult | undefined): Promise<unknown>;
}

const pluginSide: Side = {
  name: "plugin",
  add: (call, previous) => runPlugin("ADD", call, previous),
  del: (call, previous) => runPlugin("DEL", call, previous),
};

const builtinSide = (plugin: BuiltinPlugin): Side => ({
  name: "built-in",
  async add(call, previous) {
    assert.equal(plugin.obstacle(call.conf), undefined);
    return plugin.add(call, previous);
  },
  del: (call, previous) => plugin.del(call, previous),
});

/** ADD by one, DEL by the other, and the other way round: the same rules at each step. */
async function compare(
  table: "nat" | "filter",
  sides: readonly [Side, Side],
  call: PluginCall,
  previous: CniResult,
  random: Random,
): Promise<void> {
  const [a, b] = random.chance(0.5) ? sides : ([sides[1], sides[0]] as const);
  const what = `${a.name} first: ${JSON.stringify({ call, previous })}`;
  // What is shared is there or not, and that of another configuration, too.
  const isFirst = random.chance(0.6);
  if (isFirst) await resetRules(table);
  const resultOfA = await a.add(call, previous);
  const withA = await savedRules(table);
  // A DEL whose ADD was not recorded has no result.
  const known = call.conf["type"] === "portmap" && random.chance(0.3) ? undefined : previous;
  await b.del(call, known);
  const without = await savedRules(table);
  assert.notEqual(without, withA, what);
  if (isFirst && random.chance(0.6)) await resetRules(table);
  const resultOfB = await b.add(call, previous);
  assert.equal(await savedRules(table), withA, what);
  assert.deepEqual(resultOfB.ips, resultOfA.ips, what);
  if (random.chance(0.3)) {
    await a.add(call, previous);
    assert.equal(await savedRules(table), withA, `again, ${what}`);
  }
  await a.del(call, previous);
  assert.equal(await savedRules(table), without, what);
  await a.del(call, previous);
  await b.del(call, previous);
  assert.equal(await savedRules(table), without, `not there any more, ${what}`);
}

for (const backend of ["nft", "legacy"] as const) {
  describe(`rules of iptables-${backend}`, () => {
    const base = mkdtempSync(path.join(tmpdir(), "davit-rules-"));
    const systemPath = process.env["PATH"] ?? "";
    const counts =
      backend === "nft"
        ? { portmap: 70, firewall: 20, masquerade: 12 }
        : { portmap: 40, firewall: 10, masquerade: 6 };

    before(() => {
      const directory = path.join(base, "bin");
      mkdirSync(directory);
      process.env["PATH"] = `${iptablesDirectory(directory, backend)}:${systemPath}`;
    });
    after(async () => {
      await clearRules();
      process.env["PATH"] = systemPath;
      rmSync(base, { recursive: true });
    });

    test(`portmap, ${counts.portmap} configurations`, async () => {
      await resetRules("nat");
      for (let at = 0; at < counts.portmap; at++) {
        const random = new Random(seed + at);
        const sides = [pluginSide, builtinSide(new PortmapPlugin())] as const;
        const result = someResult(random);
        await compare("nat", sides, callOf(somePortmap(random), random), result, random);
      }
    });

    test(`firewall, ${counts.firewall} configurations`, async () => {
      await resetRules("filter");
      for (let at = 0; at < counts.firewall; at++) {
        const random = new Random(seed + 1000 + at);
        const sides = [pluginSide, builtinSide(new FirewallPlugin())] as const;
        const result = someResult(random);
        await compare("filter", sides, callOf(someFirewall(random), random), result, random);
      }
    });

    test(`what a record says is removed by ${backend === "nft" ? "no process" : "one process"}`, async () => {
      const started: string[] = [];
      const iptables = new Iptables((program) => {
        started.push(program.file);
        return runOnHost(program);
      });
      const portmap = new PortmapPlugin(iptables);
      await resetRules("nat");
      const first = portsCall("first", 1);
      const second = portsCall("second", 1);
      await portmap.add(first, onePod);
      const before = await savedRules("nat");
      await portmap.add(second, onePod);
      started.length = 0;
      await portmap.del(second, onePod);
      assert.equal(await savedRules("nat"), before);
      assert.deepEqual(started, backend === "nft" ? [] : ["iptables-restore"]);
    });

    test("a chain that somebody else uses stays with all of its rules", async () => {
      const portmap = new PortmapPlugin();
      await resetRules("nat");
      const call = portsCall("used", 20);
      await portmap.add(call, onePod);
      const chain = chainName("pods", "used", "DN-");
      await sh("iptables", ["-t", "nat", "-A", "FOREIGN", "-j", chain]);
      const before = await savedRules("nat");
      await assert.rejects(portmap.del(call, onePod), /iptables-restore exited with code/);
      assert.equal(await savedRules("nat"), before);
      await sh("iptables", ["-t", "nat", "-D", "FOREIGN", "-j", chain]);
      await portmap.del(call, onePod);
      assert.ok(!(await savedRules("nat")).includes(chain));
    });

    test(`masquerading of ptp, ${counts.masquerade} configurations`, async () => {
      await resetRules("nat");
      const baseline = await savedRules("nat");
      for (let at = 0; at < counts.masquerade; at++) {
        await compareMasquerade(
          new Random(seed + 2000 + at),
          path.join(base, `net-${at}`),
          baseline,
        );
      }
    });
  });
}

test("portmap by nftables removes any number of rules, and only its own", async () => {
  const portmap = new PortmapPlugin();
  const ruleset = (): Promise<string> => sh("nft", ["-s", "list", "ruleset"]);
  const [other, many] = [portsCall("a", 1, "nftables"), portsCall("ab", 250, "nftables")];
  try {
    await portmap.add(other, onePod);
    const before = await ruleset();
    await portmap.add(many, onePod);
    await portmap.del(many, onePod);
    assert.equal(await ruleset(), before);
    await portmap.del(other, undefined);
    assert.ok(!(await ruleset()).includes("dnat"));
  } finally {
    await clearRules();
  }
});

async function compareMasquerade(random: Random, netns: string, baseline: string): Promise<void> {
  const kinds = random.pick<readonly (4 | 6)[]>([[4], [6], [4, 6], [4, 4], [4, 4, 6]]);
  const addresses = kinds.map((kind) =>
    kind === 4 ? four(random).replace("/32", "/28") : six(random).replace("/128", "/120"),
  );
  const conf = {
    name: random.pick(["pods", "other.net"]),
    type: "ptp",
    cniVersion: "1.0.0",
    ipMasq: true,
    ipam: {
      type: "static",
      addresses: addresses.map((address, at) => ({
        address,
        gateway: address.includes(":") ? `2001:db8::${at + 1}` : `10.0.0.${at + 1}`,
      })),
    },
  };
  const call = { ...callOf(conf, random), netns };
  const network = { name: conf.name, containerId: call.containerId, addresses };
  const masquerade = new IptablesMasquerade();
  await pinNamespaces({ net: netns });
  try {
    await runPlugin("ADD", call, undefined);
    const what = JSON.stringify(network);
    const withPlugin = await savedRules("nat");
    assert.notEqual(withPlugin, baseline);
    await masquerade.del(network, signal);
    assert.equal(await savedRules("nat"), baseline, what);
    await masquerade.add(network, signal);
    assert.equal(await savedRules("nat"), withPlugin, what);
    await masquerade.add(network, signal);
    assert.equal(await savedRules("nat"), withPlugin, `again, ${what}`);
    // The plugin of this version fails for a second address of a family, whose rule still uses the chain.
    if (kinds.filter((kind) => kind === 4).length > 1) await masquerade.del(network, signal);
    else await runPlugin("DEL", call, undefined);
    assert.equal(await savedRules("nat"), baseline, what);
    await masquerade.del(network, signal);
    assert.equal(await savedRules("nat"), baseline, what);
  } finally {
    await unpinNamespace(netns);
  }
}
