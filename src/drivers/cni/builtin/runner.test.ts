import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, test } from "node:test";

import { isKind } from "../../../base/errors.ts";
import { parseNetworkList } from "../conflist.ts";
import { BuiltinRunner, networkObstacle } from "./runner.ts";
import { tuningWith } from "./tuning.ts";

const ipam = { type: "host-local", ranges: [[{ subnet: "10.0.0.0/24" }]] };
const bridge = { type: "bridge", bridge: "cni0", isGateway: true, hairpinMode: true, ipam };

const obstacle = (plugins: readonly object[], cniVersion = "1.0.0"): string | undefined =>
  networkObstacle(parseNetworkList(JSON.stringify({ cniVersion, name: "pods", plugins })));

describe("networkObstacle()", () => {
  test("does not exist for networks that are known whole", () => {
    const known: readonly (readonly object[])[] = [
      [bridge],
      [
        {
          ...bridge,
          mtu: 1400,
          isDefaultGateway: true,
          forceAddress: true,
          ipMasq: true,
          vlan: 0,
        },
      ],
      [{ ...bridge, dns: { nameservers: ["10.0.0.1"] }, enabledad: true, macspoofchk: false }],
      [{ ...bridge, capabilities: { ipRanges: true, dns: true }, ipam: { type: "host-local" } }],
      [
        {
          type: "ptp",
          ipam: { ...ipam, routes: [{ dst: "0.0.0.0/0", gw: "10.0.0.9" }] },
          mtu: 1400,
        },
      ],
      [
        bridge,
        { type: "tuning", sysctl: { "net.core.somaxconn": "500" }, mac: "0a:00:00:00:00:01" },
      ],
      [bridge, { type: "loopback" }],
      [
        bridge,
        { type: "portmap", capabilities: { portMappings: true }, snat: true },
        { type: "firewall", backend: "iptables" },
        { type: "bandwidth", capabilities: { bandwidth: true } },
      ],
    ];
    for (const plugins of known) assert.equal(obstacle(plugins), undefined);
    for (const version of ["0.3.0", "0.3.1", "0.4.0"])
      assert.equal(obstacle([bridge], version), undefined);
  });

  test("is a newer version of CNI", () => {
    assert.match(obstacle([bridge], "1.1.0") ?? "", /up to CNI 1\.0\.0/);
  });

  test("is a plugin that is not built in, and one at another place", () => {
    assert.match(obstacle([{ type: "flannel" }]) ?? "", /plugin "flannel" is not built in/);
    assert.match(obstacle([{ type: "tuning" }, bridge]) ?? "", /"tuning" is built in only after/);
    assert.match(obstacle([bridge, bridge]) ?? "", /"bridge" is built in only as the first/);
    assert.match(obstacle([{ type: "constructor" }]) ?? "", /not built in/);
  });

  test("is any key and value that is not known", () => {
    const bad: readonly (readonly [object, RegExp])[] = [
      [{ portIsolation: true }, /"bridge": it does not know key "portIsolation"/],
      [{ IsGateway: true }, /"IsGateway"/],
      [{ constructor: 1 }, /"constructor"/],
      [{ args: { cni: { mac: "x" } } }, /"args"/],
      [{ ipMasq: "true" }, /"ipMasq" must be true or false/],
      [{ vlan: 5 }, /"vlan" is not known/],
      [{ macspoofchk: true }, /"macspoofchk"/],
      [{ mtu: "1500" }, /"mtu" must be a whole number/],
      [{ mtu: 1.5 }, /"mtu"/],
      [{ isGateway: "true" }, /"isGateway" must be true or false/],
      [{ isGateway: null }, /"isGateway"/],
      [{ bridge: "a/b" }, /"bridge" must be a name of a link/],
      [{ bridge: "all" }, /"bridge"/],
      [{ bridge: "sixteen-letters-" }, /"bridge"/],
      [{ promiscMode: true }, /exclude each other/],
      [{ dns: { nameserver: [] } }, /"dns"/],
      [{ ipam: { type: "dhcp" } }, /no other ipam/],
      [{ ipam: undefined }, /no ipam/],
      [{ ipam: { ...ipam, more: 1 } }, /"ipam.more"/],
      [{ ipam: { ...ipam, dataDir: "relative" } }, /"ipam.dataDir" must be an absolute path/],
      [{ ipam: { ...ipam, dataDir: "/a/../b" } }, /"ipam.dataDir"/],
      [{ ipam: { ...ipam, routes: [{ dst: "10.0.0.1/8" }] } }, /"dst" must be a network/],
      [{ ipam: { ...ipam, routes: [{ dst: "10.0.0.0/8", mtu: 1 }] } }, /"mtu"/],
      [{ ipam: { ...ipam, ranges: [[{ subnet: "10.0.0.0/31" }]] } }, /too small/],
      [{ ipam: { type: "host-local", gateway: "10.0.0.1" } }, /"subnet" is missing/],
    ];
    for (const [more, reason] of bad)
      assert.match(obstacle([{ ...bridge, ...more }]) ?? "none", reason);
  });

  test("is a capability whose argument a plugin does not expect, and an argument in the configuration", () => {
    const capabilities = { portMappings: true, dns: true };
    assert.match(obstacle([bridge, { type: "portmap", capabilities }]) ?? "", /capability "dns"/);
    const both = { bandwidth: true, cgroupPath: true };
    assert.match(
      obstacle([bridge, { type: "bandwidth", capabilities: both }]) ?? "",
      /capability "cgroupPath"/,
    );
    const runtimeConfig = { mac: "0a:00:00:00:00:01" };
    assert.match(obstacle([{ ...bridge, runtimeConfig }]) ?? "", /key "runtimeConfig"/);
  });

  test("is a name that does not fit into the rules of ipMasq", () => {
    const name = "n".repeat(101);
    const of = (plugin: object) =>
      networkObstacle(
        parseNetworkList(JSON.stringify({ cniVersion: "1.0.0", name, plugins: [plugin] })),
      );
    assert.equal(of(bridge), undefined);
    assert.match(of({ ...bridge, ipMasq: true }) ?? "", /"name" does not fit/);
    assert.match(of({ type: "ptp", ipam, ipMasq: true }) ?? "", /"name" does not fit/);
  });

  test("is an administrator's list of sysctls, for a network that sets some", () => {
    const directory = mkdtempSync(join(tmpdir(), "cni-allowlist-"));
    const file = join(directory, "allowlist.conf");
    const conf = { name: "pods", type: "tuning", sysctl: { "net.core.somaxconn": "500" } };
    const tuning = tuningWith(file);
    try {
      assert.equal(tuning.obstacle(conf), undefined);
      writeFileSync(file, "^net.ipv4.conf.IFNAME.[a-z_]*$\n");
      assert.match(tuning.obstacle(conf) ?? "", /allowlist.conf" are checked by the plugin/);
      assert.equal(tuning.obstacle({ name: "pods", type: "tuning", mtu: 1400 }), undefined);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("is a sysctl outside of the network, and attributes of another form", () => {
    const tuning = (more: object): string =>
      obstacle([bridge, { type: "tuning", ...more }]) ?? "none";
    for (const key of ["kernel.msgmax", "net/../kernel/msgmax", "net", "net..core", "vm.x"]) {
      assert.match(tuning({ sysctl: { [key]: "1" } }), /"sysctl" must be/, key);
    }
    assert.match(tuning({ sysctl: { "net.core.somaxconn": 1 } }), /"sysctl"/);
    assert.match(tuning({ mac: "0a-00-00-00-00-01" }), /"mac"/);
    assert.match(tuning({ promisc: 1 }), /"promisc"/);
  });
});

describe("BuiltinRunner", () => {
  test("keeps the kind of an error that davit has found, so that bad input is not a defect", async () => {
    const plugins = [bridge, { type: "portmap", capabilities: { portMappings: true } }];
    const list = parseNetworkList(JSON.stringify({ cniVersion: "1.0.0", name: "pods", plugins }));
    const [, plugin] = list.plugins;
    assert.ok(plugin);
    const mapping = {
      hostPort: 80,
      containerPort: 80,
      protocol: "tcp",
      hostIP: "::ffff:192.0.2.1",
    };
    const capabilityArgs = { portMappings: [mapping] };
    const args = { cniArgs: "IgnoreUnknown=1", capabilityArgs };
    const target = { sandboxId: "pod", netnsPath: "/none", ifName: "eth0", args };
    const prevResult = { cniVersion: "1.0.0", interfaces: [], ips: [] };
    const { signal } = new AbortController();
    const run = new BuiltinRunner({ timeoutMs: 60_000 }).run({
      command: "ADD",
      list,
      plugin,
      target,
      prevResult,
      signal,
    });
    await assert.rejects(run, (error) => {
      assert.match(String(error), /plugin portmap: .*host IP "::ffff:192\.0\.2\.1" is not known/);
      return isKind(error, "invalid-argument");
    });
  });
});
