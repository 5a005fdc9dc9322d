// Whole lists with rules and limits, by the plugins and by davit: who adds and who removes makes no difference.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { pinNamespaces, unpinNamespace } from "../../../linux/namespace/index.ts";
import { type JsonObject, type NetworkList, parseNetworkList } from "../conflist.ts";
import type { ListRunner } from "../plugin-runner.ts";
import { parseResult, podAddresses } from "../result.ts";
import { isAtLeast } from "../version.ts";
import { networkObstacle } from "./runner.ts";
import { builtin, plugins } from "./testing/runners.ts";
import { clearRules, resetRules, savedRules, sh } from "./testing/beside-plugins.ts";

const base = mkdtempSync(path.join(tmpdir(), "davit-lists-"));
const { signal } = new AbortController();

const ipam = {
  type: "host-local",
  dataDir: path.join(base, "ipam"),
  ranges: [[{ subnet: "10.86.0.0/24" }], [{ subnet: "fd00:86::/64" }]],
  routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
};
const bridge = { type: "bridge", bridge: "dvt-lists", isGateway: true, ipMasq: true, ipam };
const portmap = { type: "portmap", capabilities: { portMappings: true } };
const firewall = { type: "firewall", backend: "iptables" };
const bandwidth = { type: "bandwidth", capabilities: { bandwidth: true } };
const capabilityArgs = {
  portMappings: [
    { hostPort: 8080, containerPort: 80, protocol: "tcp" },
    { hostPort: 8053, containerPort: 53, protocol: "udp", hostIP: "127.0.0.1" },
  ],
  bandwidth: {
    ingressRate: 1_000_000,
    ingressBurst: 2_147_483_647,
    egressRate: 2_000_000,
    egressBurst: 2_147_483_647,
  },
};

async function add(runner: ListRunner, list: NetworkList, netnsPath: string): Promise<JsonObject> {
  const args = { cniArgs: "IgnoreUnknown=1", capabilityArgs };
  const target = { sandboxId: "pod", netnsPath, ifName: "eth0", args };
  let result: JsonObject = {};
  for (const [at, plugin] of list.plugins.entries()) {
    const call = { command: "ADD", list, plugin, target, signal } as const;
    const text = await runner.run({ ...call, ...(at > 0 && { prevResult: result }) });
    result = parseResult(text, list.cniVersion);
  }
  return result;
}

async function remove(
  runner: ListRunner,
  list: NetworkList,
  netnsPath: string,
  result: JsonObject,
): Promise<void> {
  const args = { cniArgs: "IgnoreUnknown=1", capabilityArgs };
  const target = { sandboxId: "pod", netnsPath, ifName: "eth0", args };
  const prevResult = isAtLeast(list.cniVersion, "0.4.0") ? { prevResult: result } : {};
  for (const plugin of list.plugins.toReversed()) {
    await runner.run({ command: "DEL", list, plugin, target, signal, ...prevResult });
  }
}

const rules = async (): Promise<string> => (await savedRules("nat")) + (await savedRules("filter"));

describe("whole lists", () => {
  after(async () => {
    await clearRules();
    rmSync(base, { recursive: true });
  });

  const lists: readonly (readonly object[])[] = [
    [bridge, portmap],
    [bridge, portmap, firewall, bandwidth],
    [{ type: "ptp", ipMasq: true, ipam }, bandwidth, portmap],
  ];
  test("the rules of ipMasq go without a result and without the namespace, which a pod cannot prevent", async () => {
    const text = JSON.stringify({ cniVersion: "0.3.1", name: "lists", plugins: [bridge] });
    const list = parseNetworkList(text);
    const netnsPath = path.join(base, "pod");
    await resetRules("nat");
    const before = await savedRules("nat");
    await pinNamespaces({ net: netnsPath });
    try {
      await add(builtin, list, netnsPath);
      assert.notEqual(await savedRules("nat"), before);
    } finally {
      await unpinNamespace(netnsPath);
    }
    await remove(builtin, list, "", {});
    assert.equal(await savedRules("nat"), before);
    rmSync(path.join(base, "ipam"), { recursive: true });
    await sh("ip", ["link", "delete", "dvt-lists"]);
  });

  for (const cniVersion of ["0.3.1", "0.4.0", "1.0.0"]) {
    for (const entries of lists) {
      const names = entries.map((entry) => (entry as { readonly type: string }).type);
      // The plugin firewall knows none of the older versions.
      if (cniVersion === "0.3.1" && names.includes("firewall")) continue;
      test(`${names.join(", ")} by CNI ${cniVersion}`, async () => {
        const text = JSON.stringify({ cniVersion, name: "lists", plugins: entries });
        const list = parseNetworkList(text);
        assert.equal(networkObstacle(list), undefined);
        const seen: { readonly added: string; readonly removed: string; readonly ips: unknown }[] =
          [];
        for (const [adding, removing] of [
          [plugins, plugins],
          [builtin, builtin],
          [plugins, builtin],
          [builtin, plugins],
        ] as const) {
          const netnsPath = path.join(base, "pod");
          await resetRules("nat");
          await resetRules("filter");
          await pinNamespaces({ net: netnsPath });
          try {
            const result = await add(adding, list, netnsPath);
            const added = await rules();
            await remove(removing, list, netnsPath, result);
            await remove(removing, list, netnsPath, result);
            seen.push({ added, removed: await rules(), ips: podAddresses(result, "eth0") });
          } finally {
            await unpinNamespace(netnsPath);
            rmSync(path.join(base, "ipam"), { recursive: true });
            const links = await sh("ip", ["-o", "link", "show"]);
            assert.doesNotMatch(links, /bwp|veth/, "links of the pod are gone");
            if (links.includes("dvt-lists")) await sh("ip", ["link", "delete", "dvt-lists"]);
          }
        }
        for (const other of seen.slice(1)) assert.deepEqual(other, seen[0]);
      });
    }
  }
});
