import { randomBytes } from "node:crypto";

import { errnoCode } from "../../../base/system-error.ts";
import {
  createVeth,
  exchange,
  findLink,
  getLink,
  type Link,
  linkOf,
  type NetworkSysctl,
  removeLink,
} from "../../../linux/netlink/index.ts";
import { isNamespaceMounted } from "../../../linux/namespace/index.ts";
import type { PluginCall } from "./plugin.ts";

/** A pair of veth links: the pod's end, and what is known of the node's end. */
export interface VethPair {
  readonly pod: Link;
  readonly node: Pick<Link, "index" | "name">;
}

/** The sysctl by which an interface of the node ignores router advertisements: its routes are davit's. */
export function ignoreAdvertisements(name: string): NetworkSysctl {
  return { path: `/proc/sys/net/ipv6/conf/${name}/accept_ra`, value: "0", mayFail: true };
}

/** Creates the pod's interface. The node's end has a random name, as with the plugins. */
export async function createPair(call: PluginCall, mtu: number | undefined): Promise<VethPair> {
  const { netns, ifName } = call;
  for (let tries = 1; ; tries++) {
    call.signal.throwIfAborted();
    const peer = `veth${randomBytes(4).toString("hex")}`;
    try {
      const veth = { name: ifName, peer, peerPid: process.pid, mtu };
      const [, answers] = await exchange(netns, [createVeth(veth), getLink(ifName)]);
      const pod = linkOf(answers, ifName);
      return { pod, node: { name: peer, index: pod.peerIndex ?? 0 } };
    } catch (error) {
      if (errnoCode(error) !== "EEXIST") throw error;
      if (tries < 10 && (await findLink(undefined, peer)) !== undefined) continue;
      throw new Error(`container veth name provided (${ifName}) already exists`, { cause: error });
    }
  }
}

/** Deletes the pod's interface, and with it the node's end. Idempotent, also without the namespace. */
export async function deletePair({ netns, ifName }: PluginCall): Promise<void> {
  if (netns === "" || !isNamespaceMounted(netns)) return;
  const link = await findLink(netns, ifName);
  if (link === undefined) return;
  try {
    await removeLink(netns, link);
  } catch (error) {
    // A pod with NET_ADMIN can give the name to its loopback link, which cannot be deleted. The namespace takes all
    // of its links with it.
    if (errnoCode(error) !== "EOPNOTSUPP") throw error;
  }
}
