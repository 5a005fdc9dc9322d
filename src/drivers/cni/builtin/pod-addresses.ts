import { ipVersion } from "../../../base/ip-address.ts";
import { RuntimeError } from "../../../base/errors.ts";
import { quoteValue } from "../../../base/quote.ts";
import { parseCidr } from "../attachment-args.ts";
import type { CniAddress, CniResult } from "../result.ts";
import { type Family, inParallel } from "./iptables.ts";

/** An address of a pod, checked: it can be written into a rule. */
export interface PodAddress {
  readonly family: Family;
  /** With its length, as in "10.0.0.2/24". */
  readonly cidr: string;
  readonly ip: string;
}

/** Parses an address with its length. Throws `internal`: such a result is a defect of a plugin. */
export function podAddress(cidr: unknown): PodAddress {
  const ip = typeof cidr === "string" ? parseCidr(cidr) : undefined;
  const family = ip === undefined ? undefined : ipVersion(ip);
  // An IPv4 address in an IPv6 one is of neither family of rules.
  if (typeof cidr !== "string" || ip === undefined || family === undefined || /:.*\./.test(ip)) {
    const text = `read the result of the plugin before: ${quoteValue(cidr)} is not an address like "10.0.0.2/24"`;
    throw new RuntimeError("internal", text);
  }
  return { family, cidr, ip };
}

/** Runs `change` with the addresses of each family at once. When this returns, none runs any more. */
export async function inEachFamily(
  addresses: readonly PodAddress[],
  change: (family: Family, addresses: readonly PodAddress[]) => Promise<void>,
): Promise<void> {
  const families = [...new Set(addresses.map(({ family }) => family))];
  await inParallel(families, (family) =>
    change(
      family,
      addresses.filter((address) => address.family === family),
    ),
  );
}

/** All addresses of a result. */
export function resultAddresses(result: CniResult): readonly PodAddress[] {
  return (result.ips ?? []).map(({ address }) => podAddress(address));
}

/**
 * The addresses that host ports lead to: the first of each family that is not of another interface than `ifName` in
 * the pod (portmap of containernetworking/plugins).
 */
export function targetAddresses(result: CniResult, ifName: string): readonly PodAddress[] {
  const found: PodAddress[] = [];
  for (const entry of result.ips ?? []) {
    const address = podAddress(entry.address);
    if (found.some(({ family }) => family === address.family)) continue;
    if (!isElsewhere(entry, result, ifName)) found.push(address);
  }
  return found;
}

function isElsewhere({ interface: at }: CniAddress, result: CniResult, ifName: string): boolean {
  const owner = at === undefined ? undefined : result.interfaces?.[at];
  return owner !== undefined && (owner.name !== ifName || (owner.sandbox ?? "") === "");
}
