import { deleteFromNft, listNftRules } from "../../../linux/netlink/index.ts";

/**
 * Removes a chain and all rules of the chains `referring` that jump to it, in one transaction, if iptables keeps its rules in
 * nftables. False if nftables has no such rule: iptables has another backend, or somebody has changed the rules.
 *
 * This is what `iptables-restore` would do with -D, -F and -X. It neither starts a process nor waits until the kernel has
 * freed the rules. Rules are made by iptables itself, which alone knows what they look like there.
 */
export async function removeFromNft(
  table: { readonly family: 4 | 6; readonly name: string },
  chain: string,
  referring: readonly string[],
): Promise<boolean> {
  const rules = await listNftRules(table, referring);
  const jumps = rules.filter(({ target }) => target === chain);
  if (jumps.length === 0) return false;
  await deleteFromNft(table, jumps, [chain]);
  return true;
}
