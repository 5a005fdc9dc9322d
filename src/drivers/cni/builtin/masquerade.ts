import { wrap } from "../../../base/errors.ts";
import { type Addition, type Family, forEither, Iptables, type Removal } from "./iptables.ts";
import { inEachFamily, type PodAddress, podAddress } from "./pod-addresses.ts";
import { chainName, checkNames, type Rule } from "./rule-text.ts";

/** The attachment whose traffic is masqueraded. */
export interface MasqueradedPod {
  /** Name of the network. */
  readonly name: string;
  readonly containerId: string;
  /** With their lengths (CIDR), which say what is not masqueraded. */
  readonly addresses: readonly string[];
}

const multicast = { 4: "224.0.0.0/4", 6: "ff00::/8" } as const;

/** The rules for the addresses of one family: those of ipMasq in version 1.1.1, with the same text and order. */
export function masqueradeAddition(
  { name, containerId }: Omit<MasqueradedPod, "addresses">,
  family: Family,
  addresses: readonly PodAddress[],
): Addition {
  const chain = chainName(name, containerId);
  const comment = commentOf(name, containerId);
  const rules = addresses.flatMap(({ cidr }, at): readonly Rule[] => [
    { chain, args: ["-d", cidr, "-j", "ACCEPT", ...comment] },
    ...(at > 0 ? [] : [outside(chain, family, comment)]),
  ]);
  const jumps = addresses.map((address) => jump(chain, address, comment));
  return { family, table: "nat", sharedChains: [], shared: [], chain, rules: [...rules, ...jumps] };
}

function masqueradeRemoval(
  { name, containerId }: Omit<MasqueradedPod, "addresses">,
  family: Family,
  addresses: readonly PodAddress[] | undefined,
): Removal {
  const chain = chainName(name, containerId);
  const comment = commentOf(name, containerId);
  return {
    family,
    table: "nat",
    chains: [chain],
    referring: ["POSTROUTING"],
    ...(addresses && { recorded: addresses.map((address) => jump(chain, address, comment)) }),
  };
}

function outside(chain: string, family: Family, comment: readonly string[]): Rule {
  return { chain, args: ["!", "-d", multicast[family], "-j", "MASQUERADE", ...comment] };
}

function jump(chain: string, { ip }: PodAddress, comment: readonly string[]): Rule {
  return { chain: "POSTROUTING", args: ["-s", ip, "-j", chain, ...comment] };
}

function commentOf(name: string, containerId: string): readonly string[] {
  return ["-m", "comment", "--comment", `name: "${name}" id: "${containerId}"`];
}

/** The key `ipMasq` of the plugins bridge and ptp: masquerading by iptables. */
export class IptablesMasquerade {
  readonly #iptables: Iptables;

  constructor(iptables = new Iptables()) {
    this.#iptables = iptables;
  }

  /** Masquerades what the addresses send to others than their networks. One transaction for each family. */
  async add(network: MasqueradedPod, signal: AbortSignal): Promise<void> {
    const doing = `masquerade the traffic of sandbox "${network.containerId}"`;
    await forEachFamily(doing, network, (family, addresses) =>
      this.#iptables.add(doing, masqueradeAddition(network, family, addresses), signal),
    );
  }

  /** Removes what {@link add} or the plugins made. Idempotent. */
  async del(
    {
      addresses: recorded,
      ...names
    }: Omit<MasqueradedPod, "addresses"> & {
      /** Undefined: not known. */
      readonly addresses: MasqueradedPod["addresses"] | undefined;
    },
    signal: AbortSignal,
  ): Promise<void> {
    const doing = `stop masquerading the traffic of sandbox "${names.containerId}"`;
    if (recorded === undefined) {
      checkNames(names.name, names.containerId);
      await forEither((family) =>
        this.#iptables.remove(doing, masqueradeRemoval(names, family, undefined), signal),
      );
      return;
    }
    const network = { ...names, addresses: recorded };
    await forEachFamily(doing, network, (family, addresses) =>
      this.#iptables.remove(doing, masqueradeRemoval(network, family, addresses), signal),
    );
  }
}

async function forEachFamily(
  doing: string,
  { name, containerId, addresses }: MasqueradedPod,
  change: (family: Family, addresses: readonly PodAddress[]) => Promise<void>,
): Promise<void> {
  checkNames(name, containerId);
  let parsed: readonly PodAddress[];
  try {
    parsed = addresses.map(podAddress);
  } catch (error) {
    throw wrap(doing, error);
  }
  await inEachFamily(parsed, change);
}

/** As davit uses it. */
export const masquerade = new IptablesMasquerade();
