// The plugin loopback, as version 1.1.1 does it: in a chain it hands on the result of the plugin before.
import { isNamespaceMounted } from "../../../linux/namespace/index.ts";
import {
  addressesOf,
  exchange,
  findLink,
  type Link,
  type LinkAddress,
  setLink,
} from "../../../linux/netlink/index.ts";
import { formatCidr, fromBytes } from "./address.ts";
import { commonKeys, isDns, obstacleIn } from "./known-keys.ts";
import type { BuiltinPlugin } from "./plugin.ts";
import { resultOf } from "./result-of.ts";

const name = "lo";

async function loopbackOf(netns: string): Promise<Link> {
  const link = await findLink(netns, name);
  if (link === undefined) throw new Error(`the namespace has no link "${name}"`);
  return link;
}

/** The first address of a family. Others would not be of this host alone. */
function firstOf(addresses: readonly LinkAddress[], size: 4 | 16): readonly string[] {
  const ofFamily = addresses.filter(({ bytes }) => bytes.length === size).map(fromBytes);
  const strange = ofFamily.find(({ family, value }) =>
    family === 4 ? value >> 24n !== 127n : value !== 1n,
  );
  if (strange !== undefined) {
    throw new Error(`loopback interface found with non-loopback address "${formatCidr(strange)}"`);
  }
  return ofFamily.slice(0, 1).map(formatCidr);
}

/** The pod's loopback interface. */
export const loopbackPlugin: BuiltinPlugin = {
  type: "loopback",

  obstacle: (conf) => obstacleIn(conf, { ...commonKeys, dns: isDns }),

  async add({ netns }, previous) {
    const link = await loopbackOf(netns);
    await exchange(netns, [setLink(link, { up: true })]);
    const addresses = await addressesOf(netns, link.index);
    const ips = [...firstOf(addresses, 4), ...firstOf(addresses, 16)];
    if (previous !== undefined) return previous;
    return resultOf({
      interfaces: [{ name, mac: "00:00:00:00:00:00", sandbox: netns }],
      ips: ips.map((address) => ({ address, interface: 0 })),
      dns: {},
    });
  },

  async del({ netns }) {
    if (netns === "" || !isNamespaceMounted(netns)) return;
    const link = await findLink(netns, name);
    // A pod with NET_ADMIN can rename it.
    if (link !== undefined) await exchange(netns, [setLink(link, { up: false })]);
  },
};
