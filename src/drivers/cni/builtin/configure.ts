import { setTimeout as delay } from "node:timers/promises";

import {
  addAddress,
  addressesOf,
  addRoute,
  exchange,
  type Link,
  type NetworkSysctl,
  type Request,
  setLink,
} from "../../../linux/netlink/index.ts";
import type { CniAddress, CniRoute } from "../result.ts";
import {
  type Address,
  addressBytes,
  type Cidr,
  parseAddress,
  parseCidr,
  prefixOf,
} from "./address.ts";
import type { PluginCall } from "./plugin.ts";

/** What the pod's interface gets. */
export interface InterfacePlan {
  readonly ips: readonly CniAddress[];
  readonly routes: readonly CniRoute[];
}

// How long the kernel may look for another interface with an IPv6 address, and how often that is asked.
const settleMs = 10_000;
const settlePollMs = 5;

/** The parts of an address of a result. It is one that davit made. */
export function partsOf({ address, gateway }: CniAddress): {
  readonly cidr: Cidr;
  readonly gateway: Address | undefined;
} {
  const cidr = parseCidr(address);
  if (cidr === undefined) throw new Error(`"${address}" is not an address`);
  return { cidr, gateway: gateway === undefined ? undefined : parseAddress(gateway) };
}

/** IPv6 may be off by default in the pod; an interface that gets an IPv6 address turns it on. */
function enableIpv6(ifName: string): readonly NetworkSysctl[] {
  return ["lo", ifName].map((name) => ({
    path: `/proc/sys/net/ipv6/conf/${name}/disable_ipv6`,
    value: "0",
  }));
}

/**
 * Adds addresses to the pod's interface, brings it up and adds routes; a route without a gateway gets the one of the
 * first address of its family. With an IPv6 gateway it first waits until the addresses are usable.
 */
export async function configureInterface(
  call: PluginCall,
  link: Link,
  { ips, routes }: InterfacePlan,
  sysctls: readonly NetworkSysctl[],
): Promise<void> {
  const { netns, ifName, signal } = call;
  const addresses = ips.map(partsOf);
  const gateways = new Map<4 | 6, Address>();
  for (const { gateway } of addresses) {
    if (gateway !== undefined && !gateways.has(gateway.family))
      gateways.set(gateway.family, gateway);
  }
  const hasIpv6 = addresses.some(({ cidr }) => cidr.family === 6);
  const up = [
    ...addresses.map(({ cidr }) => addAddress(link.index, prefixOf(cidr))),
    setLink(link, { up: true }),
  ];
  const wanted = routes.map((route) => routeRequest(link, route, gateways));
  const files = [...sysctls, ...(hasIpv6 ? enableIpv6(ifName) : [])];
  signal.throwIfAborted();
  if (!gateways.has(6)) {
    await exchange(netns, [...up, ...wanted], files);
    return;
  }
  await exchange(netns, up, files);
  await settle(call, link);
  await exchange(netns, wanted);
}

function routeRequest(link: Link, route: CniRoute, gateways: ReadonlyMap<4 | 6, Address>): Request {
  const destination = parseCidr(route.dst);
  if (destination === undefined) throw new Error(`"${route.dst}" is not a network`);
  const own = route.gw === undefined ? undefined : parseAddress(route.gw);
  const gateway = own ?? gateways.get(destination.family);
  return addRoute(
    {
      destination: prefixOf(destination),
      linkIndex: link.index,
      gateway: gateway === undefined ? undefined : addressBytes(gateway),
    },
    { exclusive: false },
  );
}

/** Waits until no address is tentative (RFC 4862, section 5.4), 10 s at most. It is not an error if that takes longer. */
async function settle({ netns, signal }: PluginCall, link: Link): Promise<void> {
  const deadline = performance.now() + settleMs;
  for (;;) {
    const addresses = await addressesOf(netns, link.index);
    if (!addresses.some(({ isTentative }) => isTentative)) return;
    if (performance.now() > deadline) return;
    signal.throwIfAborted();
    await delay(settlePollMs);
  }
}
