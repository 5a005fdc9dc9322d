// Limits of bandwidth of the plugin and of davit, side by side.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { after, describe, test } from "node:test";
import { Random } from "../../../../test/support/random.ts";
import { pinNamespaces, unpinNamespace } from "../../../linux/namespace/index.ts";
import type { CniResult } from "../result.ts";
import { bandwidthPlugin, ifbName } from "./bandwidth.ts";
import type { PluginCall } from "./plugin.ts";
import { runPlugin, sh } from "./testing/beside-plugins.ts";

const { signal } = new AbortController();
const seed = 20_261_202;
const count = 30;
const base = mkdtempSync(path.join(tmpdir(), "davit-bandwidth-"));

const sides = [
  {
    add: (call: PluginCall, previous: CniResult) => runPlugin("ADD", call, previous),
    del: (call: PluginCall, previous: CniResult): Promise<unknown> =>
      runPlugin("DEL", call, previous),
  },
  {
    async add(call: PluginCall, previous: CniResult) {
      assert.equal(bandwidthPlugin.obstacle(call.conf), undefined);
      return bandwidthPlugin.add(call, previous);
    },
    del: (call: PluginCall, previous: CniResult): Promise<unknown> =>
      bandwidthPlugin.del(call, previous),
  },
];

function someConf(random: Random): PluginCall["conf"] {
  const burst = (): number =>
    random.pick([2_147_483_647, 2_147_483_647, random.spread(80_000, 8 * 2 ** 31)]);
  const limit = (direction: string): object =>
    random.chance(0.75)
      ? { [`${direction}Rate`]: random.spread(8, 1e15), [`${direction}Burst`]: burst() }
      : random.pick([{}, { [`${direction}Rate`]: 0, [`${direction}Burst`]: 0 }]);
  const limits = { ...limit("ingress"), ...limit("egress") };
  const conf = { name: random.pick(["pods", "other.net"]), type: "bandwidth", cniVersion: "1.0.0" };
  return random.chance(0.5)
    ? { ...conf, ...limits }
    : { ...conf, runtimeConfig: { bandwidth: limits } };
}

/** What traffic control and links look like, without what differs from one pod to the next. */
async function shown(nodeEnd: string, ifb: string): Promise<string> {
  const texts = [
    await sh("tc", ["-d", "qdisc", "show"]),
    await sh("tc", ["-d", "filter", "show", "dev", nodeEnd, "ingress"]),
    (await sh("ip", ["-d", "link", "show"]))
      .split(/^(?=\d+: )/m)
      .filter((link) => link.includes(ifb))
      .join(""),
  ];
  return texts
    .join("\n")
    .replaceAll(nodeEnd, "NODE-END")
    .replaceAll(/([0-9a-f]{2}:){5}[0-9a-f]{2}/g, "MAC")
    .replaceAll(/^\d+: /gm, "")
    .replaceAll(/index \d+/g, "index N");
}

describe("bandwidth", () => {
  after(async () => {
    await sh("ip", ["link", "delete", "dvt-bw"]);
    rmSync(base, { recursive: true });
  });

  test(`${count} configurations`, async () => {
    let limited = 0;
    for (let at = 0; at < count; at++) {
      const random = new Random(seed + at);
      const conf = someConf(random);
      const containerId = `c${at}`;
      const seen: { readonly failed: boolean; readonly text: string }[] = [];
      for (const [n, side] of sides.entries()) {
        const netns = path.join(base, `net-${at}-${n}`);
        const call = { containerId, netns, ifName: "eth0", conf, signal };
        const ipam = { type: "static", addresses: [{ address: "10.89.0.2/24" }] };
        const bridge = {
          ...call,
          conf: { name: "pods", type: "bridge", cniVersion: "1.0.0", bridge: "dvt-bw", ipam },
        };
        await pinNamespaces({ net: netns });
        try {
          const previous = await runPlugin("ADD", bridge, undefined);
          const nodeEnd = previous.interfaces?.[1]?.name ?? "";
          const ifb = ifbName(String(conf["name"]), containerId);
          // The kernel refuses some limits, such as a burst that is too short for the rate.
          const result = await side.add(call, previous).catch(() => undefined);
          const added = result?.interfaces?.[3];
          if (added !== undefined) {
            const text = await sh("ip", ["-j", "link", "show", ifb]);
            const [link] = JSON.parse(text) as [{ address: string }];
            assert.deepEqual(added, { name: ifb, mac: link.address });
          }
          const failed = result === undefined;
          seen.push({ failed, text: failed ? "" : await shown(nodeEnd, ifb) });
          const other = sides[1 - n];
          await other?.del(call, previous);
          await other?.del(call, previous);
          assert.doesNotMatch(await sh("ip", ["link", "show"]), /bwp/, "the ifb link is gone");
        } finally {
          await runPlugin("DEL", bridge, undefined);
          await unpinNamespace(netns);
        }
      }
      assert.deepEqual(seen[1], seen[0], JSON.stringify(conf));
      if (seen[0]?.failed === false) limited++;
    }
    assert.ok(limited > count / 2, `only ${limited} limits are possible`);
  });
});
