import { exchange } from "../../../linux/netlink/index.ts";

const files = {
  4: "/proc/sys/net/ipv4/ip_forward",
  6: "/proc/sys/net/ipv6/conf/all/forwarding",
} as const;

/** Makes the node forward packets of families. */
export async function enableForwarding(families: readonly (4 | 6)[]): Promise<void> {
  const sysctls = families.map((family) => ({ path: files[family], value: "1" }));
  if (sysctls.length > 0) await exchange(undefined, [], sysctls);
}
