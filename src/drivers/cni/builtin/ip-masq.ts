// The key ipMasq of bridge and ptp: what pods send to others than their network has an address of the node.
import type { JsonObject } from "../conflist.ts";
import type { CniResult } from "../result.ts";
import { type MasqueradedPod, masquerade } from "./masquerade.ts";
import type { PluginCall } from "./plugin.ts";
import { isName, longestName } from "./rule-text.ts";
import { deletePair } from "./veth.ts";

/** Why the plugin itself must run for the value of ipMasq; undefined when davit does all of it. */
export function masqueradeObstacle(conf: JsonObject): string | undefined {
  if (conf["ipMasq"] !== true || isName(String(conf["name"]), longestName)) return undefined;
  return '"name" does not fit into the comment of a rule of "ipMasq"';
}

/** Masquerades the addresses of a new attachment, if its configuration says so. */
export async function masqueradePod(call: PluginCall, addresses: readonly string[]): Promise<void> {
  if (call.conf["ipMasq"] !== true) return;
  await masquerade.add({ ...podOf(call), addresses }, call.signal);
}

/**
 * Deletes the pod's interface. Returns what stops the masquerading of its addresses. Without a recorded result that is by
 * the name of the chain: a pod may have given its interface any addresses, and any number of them.
 */
export async function deleteInterface(
  call: PluginCall,
  previous: CniResult | undefined,
): Promise<() => Promise<void>> {
  await deletePair(call);
  const addresses = previous?.ips?.map(({ address }) => address);
  return async () => {
    if (call.conf["ipMasq"] !== true || addresses?.length === 0) return;
    await masquerade.del({ ...podOf(call), addresses }, call.signal);
  };
}

function podOf({ conf, containerId }: PluginCall): Omit<MasqueradedPod, "addresses"> {
  return { name: conf["name"] as string, containerId };
}
