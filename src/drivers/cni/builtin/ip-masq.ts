// The key ipMasq of bridge and ptp: what pods send to others than their network has an address of the node.
import type { CniResult } from "../result.ts";
import { formatCidr, fromBytes } from "./address.ts";
import { isFlag } from "./known-keys.ts";
import type { PluginCall } from "./plugin.ts";
import { deletePair } from "./veth.ts";

/** Masquerades the traffic of an attachment. */
export interface Masquerade {
  add(network: MasqueradedPod, signal: AbortSignal): Promise<void>;
  /** Idempotent. */
  del(network: MasqueradedPod, signal: AbortSignal): Promise<void>;
}

/** The attachment whose traffic is masqueraded. */
interface MasqueradedPod {
  /** Of the network. */
  readonly name: string;
  readonly containerId: string;
  /** With their lengths. */
  readonly addresses: readonly string[];
}

/** A check of the value of ipMasq. */
export function isIpMasq(masquerade: Masquerade | undefined) {
  return (value: unknown): string | undefined =>
    value === true && masquerade === undefined ? "is not known to davit" : isFlag(value);
}

/** Masquerades the addresses of a new attachment, if its configuration says so. */
export async function masqueradePod(
  masquerade: Masquerade | undefined,
  call: PluginCall,
  addresses: readonly string[],
): Promise<void> {
  if (call.conf["ipMasq"] !== true) return;
  await masquerade?.add({ ...podOf(call), addresses }, call.signal);
}

/**
 * Deletes the pod's interface. Returns what stops the masquerading of its addresses: those of the recorded result,
 * without one those of the interface.
 */
export async function deleteInterface(
  masquerade: Masquerade | undefined,
  call: PluginCall,
  previous: CniResult | undefined,
): Promise<() => Promise<void>> {
  const masquerades = call.conf["ipMasq"] === true;
  const recorded = previous?.ips?.map(({ address }) => address);
  const found = await deletePair(call, { withAddresses: masquerades && recorded === undefined });
  // Link-local addresses are not masqueraded.
  const ofLink = found?.map((each) => formatCidr(fromBytes(each))) ?? [];
  const addresses = recorded ?? ofLink.filter((address) => !address.startsWith("fe80:"));
  return async () => {
    if (!masquerades || addresses.length === 0) return;
    await masquerade?.del({ ...podOf(call), addresses }, call.signal);
  };
}

function podOf({ conf, containerId }: PluginCall): Omit<MasqueradedPod, "addresses"> {
  return { name: conf["name"] as string, containerId };
}
