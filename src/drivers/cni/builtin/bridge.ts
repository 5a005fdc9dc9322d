// The plugin bridge, as version 1.1.1 does it, for pods with addresses and without VLANs.
import { setTimeout as delay } from "node:timers/promises";

import { errnoCode } from "../../../base/system-error.ts";
import {
  addAddress,
  addressesOf,
  createBridge,
  deleteAddress,
  exchange,
  findLink,
  getLink,
  type Link,
  linkOf,
  listAddresses,
  parseAddresses,
  setHairpin,
  setLink,
} from "../../../linux/netlink/index.ts";
import type { JsonObject } from "../conflist.ts";
import type { CniAddress, CniDns, CniRoute } from "../result.ts";
import {
  type Cidr,
  contains,
  formatAddress,
  formatCidr,
  fromBytes,
  isSame,
  prefixOf,
} from "./address.ts";
import { configureInterface, partsOf } from "./configure.ts";
import { enableForwarding } from "./forwarding.ts";
import { addAddresses, dnsOf, ipamObstacle, releaseAddresses } from "./host-local/host-local.ts";
import { deleteInterface, masqueradeObstacle, masqueradePod } from "./ip-masq.ts";
import { commonKeys, isDns, isFlag, isLinkName, isMtu, obstacleIn } from "./known-keys.ts";
import type { BuiltinPlugin } from "./plugin.ts";
import { resultOf } from "./result-of.ts";
import { createPair, ignoreAdvertisements, type VethPair } from "./veth.ts";

interface BridgeConf {
  readonly bridge: string;
  readonly isGateway: boolean;
  readonly isDefaultGateway: boolean;
  readonly forceAddress: boolean;
  readonly hairpinMode: boolean;
  readonly promiscMode: boolean;
  readonly enableDad: boolean;
  readonly mtu: number | undefined;
  readonly dns: CniDns;
}

const isOff = (value: unknown): string | undefined =>
  value === false || value === 0 ? undefined : "is not known to davit";

const knownKeys = {
  ...commonKeys,
  bridge: isLinkName,
  isGateway: isFlag,
  isDefaultGateway: isFlag,
  forceAddress: isFlag,
  ipMasq: isFlag,
  mtu: isMtu,
  hairpinMode: isFlag,
  promiscMode: isFlag,
  vlan: isOff,
  macspoofchk: isOff,
  enabledad: isFlag,
  dns: isDns,
  ipam: (): undefined => undefined,
};

const familyNames = { 4: "ipv4", 6: "ipv6" } as const;

// How long the port of a bridge may take to forward frames, and how often that is asked.
const portMs = 2_550;
const portPollMs = 2;

function readConf(conf: JsonObject): BridgeConf {
  const flag = (key: string): boolean => conf[key] === true;
  return {
    bridge: (conf["bridge"] as string | undefined) ?? "cni0",
    isGateway: flag("isGateway") || flag("isDefaultGateway"),
    isDefaultGateway: flag("isDefaultGateway"),
    forceAddress: flag("forceAddress"),
    hairpinMode: flag("hairpinMode"),
    promiscMode: flag("promiscMode"),
    enableDad: flag("enabledad"),
    mtu: conf["mtu"] as number | undefined,
    dns: dnsOf(conf["dns"] ?? {}),
  };
}

/** The bridge; created if it does not exist. */
async function ensureBridge({ bridge, mtu, promiscMode }: BridgeConf): Promise<Link> {
  let link = await findLink(undefined, bridge);
  if (link === undefined) {
    try {
      await exchange(undefined, [createBridge(bridge, mtu)]);
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error; // another pod's call was faster
    }
    link = await findLink(undefined, bridge);
  }
  if (link?.kind !== "bridge") throw new Error(`"${bridge}" already exists but is not a bridge`);
  if (promiscMode && !link.isPromiscuous) {
    await exchange(undefined, [setLink(link, { promiscuous: true })]);
  }
  return link;
}

/** Makes the node's end a port of the bridge. Returns its MAC address. */
async function connect(bridge: Link, { node }: VethPair, conf: BridgeConf): Promise<string> {
  const requests = [
    setLink(bridge, { up: true }),
    setLink(node, { up: true }),
    setLink(node, { master: bridge.index }),
    setHairpin(node, conf.hairpinMode),
    getLink(node.name),
  ];
  const sysctls = [ignoreAdvertisements(bridge.name), ignoreAdvertisements(node.name)];
  const answers = await exchange(undefined, requests, sysctls);
  return linkOf(answers.at(-1), node.name).mac;
}

/** The default routes that isDefaultGateway adds to those of the IPAM plugin, one for each family without one. */
function defaultRoutes(
  ips: readonly CniAddress[],
  routes: readonly CniRoute[],
): readonly CniRoute[] {
  const all = [...routes];
  const done = new Set<4 | 6>();
  for (const ip of ips) {
    const { cidr, gateway } = partsOf(ip);
    if (done.has(cidr.family)) continue;
    done.add(cidr.family);
    const dst = cidr.family === 4 ? "0.0.0.0/0" : "::/0";
    if (all.some((route) => route.dst === dst && route.gw !== undefined)) continue;
    all.push({ dst, ...(gateway !== undefined && { gw: formatAddress(gateway) }) });
  }
  return all;
}

/** The sysctls of the pod's interface: whether it looks for duplicates of its addresses, and announces them. */
function interfaceSysctls(ifName: string, { enableDad }: BridgeConf) {
  const ipv6 = (name: string, value: string) =>
    ({ path: `/proc/sys/net/ipv6/conf/${ifName}/${name}`, value, mayFail: true }) as const;
  return [
    ...(enableDad ? [ipv6("enhanced_dad", "1")] : []),
    ipv6("accept_dad", enableDad ? "1" : "0"),
    { path: `/proc/sys/net/ipv4/conf/${ifName}/arp_notify`, value: "1", mayFail: true },
  ];
}

async function waitForPort(name: string, signal: AbortSignal): Promise<void> {
  const deadline = performance.now() + portMs;
  for (;;) {
    const link = await findLink(undefined, name);
    if (link === undefined) throw new Error(`link "${name}" is gone`);
    if (link.isOperational) return;
    if (performance.now() > deadline) throw new Error(`bridge port "${name}" does not come up`);
    signal.throwIfAborted();
    await delay(portPollMs);
  }
}

/** Gives the bridge the gateway's address, unless it has it. */
async function ensureAddress(bridge: Link, gateway: Cidr, conf: BridgeConf): Promise<void> {
  const family = familyNames[gateway.family];
  const present = (await addressesOf(undefined, bridge.index, family)).map(fromBytes);
  // In the kernel's order: what comes before the address itself is in its way.
  for (const address of present) {
    if (isEqual(address, gateway)) return;
    const isInTheWay =
      family === "ipv4" || contains(address, gateway) || contains(gateway, address);
    if (!isInTheWay) continue;
    if (!conf.forceAddress) {
      throw new Error(
        `failed to set bridge addr: "${bridge.name}" already has an IP address different from ${formatCidr(gateway)}`,
      );
    }
    await exchange(undefined, [deleteAddress(bridge.index, prefixOf(address))]);
  }
  try {
    await exchange(undefined, [addAddress(bridge.index, prefixOf(gateway))]);
  } catch (error) {
    if (errnoCode(error) !== "EEXIST") throw error;
  }
  // Its own from now on: otherwise it is the lowest one of its ports and changes with them.
  await exchange(undefined, [setLink(bridge, { mac: bridge.mac })]);
}

/** Gives the bridge the gateways' addresses, and makes the node forward. Returns its MAC address after that. */
async function finish(
  bridge: Link,
  node: VethPair["node"],
  ips: readonly CniAddress[],
  options: { readonly conf: BridgeConf; readonly signal: AbortSignal },
): Promise<string> {
  const { conf, signal } = options;
  const gateways = conf.isGateway ? ips.flatMap(gatewayOf) : [];
  const families = [...new Set(gateways.map(({ family }) => family))];
  const [port, link, ...lists] = await exchange(undefined, [
    getLink(node.name),
    getLink(bridge.name),
    ...families.map((family) => listAddresses(bridge.index, familyNames[family])),
  ]);
  if (!linkOf(port, node.name).isOperational) await waitForPort(node.name, signal);
  const present = lists.flatMap((answers) => parseAddresses(answers, bridge.index)).map(fromBytes);
  const isMissing = (gateway: Cidr) => !present.some((address) => isEqual(address, gateway));
  if (!gateways.some(isMissing)) {
    await enableForwarding(families);
    return linkOf(link, bridge.name).mac;
  }
  for (const family of families.toSorted()) {
    for (const gateway of gateways) {
      if (gateway.family === family) await ensureAddress(bridge, gateway, conf);
    }
    await enableForwarding([family]);
  }
  const [answers] = await exchange(undefined, [getLink(bridge.name)]);
  return linkOf(answers, bridge.name).mac;
}

function gatewayOf(ip: CniAddress): readonly Cidr[] {
  const { cidr, gateway } = partsOf(ip);
  return gateway === undefined ? [] : [{ ...gateway, length: cidr.length }];
}

function isEqual(one: Cidr, other: Cidr): boolean {
  return isSame(one, other) && one.length === other.length;
}

/** A pod's interface as a port of a bridge of the node. */
export const bridgePlugin: BuiltinPlugin = {
  type: "bridge",

  obstacle(conf) {
    const why = obstacleIn(conf, knownKeys) ?? ipamObstacle(conf) ?? masqueradeObstacle(conf);
    if (why !== undefined) return why;
    const { hairpinMode, promiscMode } = readConf(conf);
    return hairpinMode && promiscMode
      ? "hairpinMode and promiscMode exclude each other"
      : undefined;
  },

  async add(call) {
    const conf = readConf(call.conf);
    const bridge = await ensureBridge(conf);
    const pair = await createPair(call, conf.mtu);
    const nodeMac = await connect(bridge, pair, conf);
    const { ips, routes: given } = await addAddresses(call);
    try {
      const routes = conf.isDefaultGateway ? defaultRoutes(ips, given) : given;
      const sysctls = interfaceSysctls(call.ifName, conf);
      await configureInterface(call, pair.pod, { ips, routes }, sysctls);
      const { signal } = call;
      const mac = await finish(bridge, pair.node, ips, { conf, signal });
      const addresses = ips.map(({ address }) => address);
      await masqueradePod(call, addresses);
      return resultOf({
        interfaces: [
          { name: conf.bridge, mac },
          { name: pair.node.name, mac: nodeMac },
          { name: call.ifName, mac: pair.pod.mac, sandbox: call.netns },
        ],
        ips: ips.map((ip) => ({ ...ip, interface: 2 })),
        routes,
        dns: conf.dns,
      });
    } catch (error) {
      // What this cannot free, del() frees.
      await releaseAddresses(call).catch(() => undefined);
      throw error;
    }
  },

  async del(call, previous) {
    const stopMasquerading = await deleteInterface(call, previous);
    await releaseAddresses(call, previous);
    await stopMasquerading();
  },
};
