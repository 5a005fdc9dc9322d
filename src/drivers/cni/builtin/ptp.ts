// The plugin ptp, as version 1.1.1 does it.
import { errnoCode } from "../../../base/system-error.ts";
import {
  addAddress,
  addRoute,
  deleteRoute,
  exchange,
  getLink,
  linkOf,
  type Request,
  setLink,
} from "../../../linux/netlink/index.ts";
import type { CniAddress } from "../result.ts";
import { addressBytes, bitsOf, networkOf, prefixOf } from "./address.ts";
import { configureInterface, partsOf } from "./configure.ts";
import { enableForwarding } from "./forwarding.ts";
import { addAddresses, dnsOf, ipamObstacle, releaseAddresses } from "./host-local/host-local.ts";
import { deleteInterface, masqueradeObstacle, masqueradePod } from "./ip-masq.ts";
import { commonKeys, isDns, isFlag, isMtu, obstacleIn } from "./known-keys.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";
import { resultOf } from "./result-of.ts";
import { createPair, ignoreAdvertisements, type VethPair } from "./veth.ts";

const knownKeys = {
  ...commonKeys,
  ipMasq: isFlag,
  mtu: isMtu,
  dns: isDns,
  ipam: (): undefined => undefined,
};

/** An address alone, and its gateway alone. */
function hostsOf(ip: CniAddress) {
  const { cidr, gateway } = partsOf(ip);
  const length = bitsOf(cidr.family);
  return { cidr, own: { ...cidr, length }, gateway: gateway && { ...gateway, length } };
}

/** Replaces the route to the pod's network by one through the gateway, so that it does not ask for others by ARP. */
function routeThroughGateway(index: number, ip: CniAddress): readonly Request[] {
  const { cidr, gateway } = hostsOf(ip);
  if (gateway === undefined) return [];
  const network = prefixOf(networkOf(cidr));
  const source = addressBytes(cidr);
  return [
    deleteRoute({ destination: network, linkIndex: index }),
    addRoute(
      { destination: prefixOf(gateway), linkIndex: index, source, scope: "link" },
      { exclusive: true },
    ),
    addRoute(
      { destination: network, linkIndex: index, source, gateway: addressBytes(gateway) },
      { exclusive: true },
    ),
  ];
}

/** Gives the node's end the gateway's address and a route to the pod. Returns its MAC address. */
async function configureNode({ node }: VethPair, ips: readonly CniAddress[]): Promise<void> {
  for (const ip of ips) {
    const { own, gateway } = hostsOf(ip);
    if (gateway !== undefined)
      await exchange(undefined, [addAddress(node.index, prefixOf(gateway))]);
    const route = { destination: prefixOf(own), linkIndex: node.index, scope: "host" } as const;
    try {
      await exchange(undefined, [addRoute(route, { exclusive: true })]);
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error;
    }
  }
}

async function attach(
  call: PluginCall,
  pair: VethPair,
  plan: Parameters<typeof configureInterface>[2],
) {
  const up = [setLink(pair.node, { up: true }), getLink(pair.node.name)];
  const answers = await exchange(undefined, up, [ignoreAdvertisements(pair.node.name)]);
  await configureInterface(call, pair.pod, plan, []);
  await exchange(
    call.netns,
    plan.ips.flatMap((ip) => routeThroughGateway(pair.pod.index, ip)),
  );
  await configureNode(pair, plan.ips);
  return linkOf(answers.at(-1), pair.node.name).mac;
}

/** A pod's interface with a link of its own to the node. */
export const ptpPlugin: BuiltinPlugin = {
  type: "ptp",

  obstacle: (conf) => obstacleIn(conf, knownKeys) ?? ipamObstacle(conf) ?? masqueradeObstacle(conf),

  async add(call) {
    const { ips, routes, dns } = await addAddresses(call);
    try {
      await enableForwarding([...new Set(ips.map((ip) => partsOf(ip).cidr.family))]);
      const pair = await createPair(call, call.conf["mtu"] as number | undefined);
      const nodeMac = await attach(call, pair, { ips, routes });
      const addresses = ips.map(({ address }) => address);
      await masqueradePod(call, addresses);
      const own = dnsOf(call.conf["dns"] ?? {});
      return resultOf({
        interfaces: [
          { name: pair.node.name, mac: nodeMac },
          { name: call.ifName, mac: pair.pod.mac, sandbox: call.netns },
        ],
        ips: ips.map((ip) => ({ ...ip, interface: 1 })),
        routes,
        dns: Object.keys(own).length > 0 ? own : dns,
      });
    } catch (error) {
      // What this cannot free, del() frees.
      await releaseAddresses(call).catch(() => undefined);
      throw error;
    }
  },

  async del(call, previous) {
    await releaseAddresses(call, previous);
    const stopMasquerading = await deleteInterface(call, previous);
    await stopMasquerading();
  },
};
