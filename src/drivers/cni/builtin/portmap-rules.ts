import { ipVersion } from "../../../base/ip-address.ts";
import type { Addition, Family, Removal, SharedRule } from "./iptables.ts";
import type { PodAddress } from "./pod-addresses.ts";
import type { PortMapping, PortmapConf } from "./portmap-conf.ts";
import { chainName, type Rule } from "./rule-text.ts";

// The names of portmap, of which everything on a node that refers to them is a user (containernetworking/plugins).
const dnat = "CNI-HOSTPORT-DNAT";
const setMark = "CNI-HOSTPORT-SETMARK";
const masquerade = "CNI-HOSTPORT-MASQ";
const oldSnat = "CNI-HOSTPORT-SNAT";

/** The multiport match has no room for more. */
const portsPerRule = 15;

/**
 * The rules of a container's host ports for one family: those that portmap 1.1.1 makes, with the same text and order.
 *
 * PREROUTING and OUTPUT jump to CNI-HOSTPORT-DNAT, which jumps by port to the container's chain, which marks what
 * comes from the container itself or from localhost and then rewrites the destination. CNI-HOSTPORT-MASQ, before all
 * in POSTROUTING, masquerades what is marked.
 */
export function portmapAddition(
  conf: PortmapConf,
  containerId: string,
  address: PodAddress,
): Addition {
  const { family } = address;
  const chain = dnatChain(conf.network, containerId);
  const marks = conf.snat && conf.externalSetMarkChain === undefined;
  return {
    family,
    table: "nat",
    sharedChains: [...(marks ? [setMark, masquerade] : []), dnat],
    shared: [...(marks ? markRules(conf.markMasqBit) : []), ...entryPoints],
    chain,
    rules: unique([
      ...conf.mappings.flatMap((mapping) => mappingRules(conf, chain, mapping, address)),
      ...entryRules(conf, containerId, family),
    ]),
  };
}

/** What is to be gone at DEL. With `recorded`, ADD made the rules of this configuration. */
export function portmapRemoval(
  network: string,
  containerId: string,
  family: Family,
  recorded: PortmapConf | undefined,
): Removal {
  return {
    family,
    table: "nat",
    // Versions before 0.8.0 made the second one.
    chains: [dnatChain(network, containerId), chainName(network, containerId, "SN-")],
    referring: [dnat, oldSnat],
    ...(recorded && { recorded: unique(entryRules(recorded, containerId, family)) }),
  };
}

function dnatChain(network: string, containerId: string): string {
  return chainName(network, containerId, "DN-");
}

const entryPoints: readonly SharedRule[] = ["PREROUTING", "OUTPUT"].map((chain) => ({
  chain,
  args: ["-m", "addrtype", "--dst-type", "LOCAL", "-j", dnat],
}));

function markRules(bit: number): readonly SharedRule[] {
  const mark = `0x${(2 ** bit).toString(16)}`;
  const both = `${mark}/${mark}`;
  const comment = (text: string): readonly string[] => ["-m", "comment", "--comment", text];
  return [
    {
      chain: setMark,
      args: [...comment("CNI portfwd masquerade mark"), "-j", "MARK", "--set-xmark", both],
    },
    { chain: masquerade, args: ["-m", "mark", "--mark", both, "-j", "MASQUERADE"] },
    {
      chain: "POSTROUTING",
      args: [...comment("CNI portfwd requiring masquerade"), "-j", masquerade],
      first: true,
    },
  ];
}

// Of all mappings, although those with a host IP of the other family have no rule in the container's chain.
function entryRules(conf: PortmapConf, containerId: string, family: Family): readonly Rule[] {
  const comment = `dnat name: "${conf.network}" id: "${containerId}"`;
  const chain = dnatChain(conf.network, containerId);
  const protocols = [...new Set(conf.mappings.map(({ protocol }) => protocol))].toSorted();
  return protocols.flatMap((protocol) => {
    const ports = conf.mappings.filter((mapping) => mapping.protocol === protocol);
    return chunks(ports, portsPerRule).map((some) => {
      const list = some.map(({ hostPort }) => hostPort).join(",");
      const match = ["-m", "multiport", "-p", protocol, "--destination-ports", list];
      const args = ["-m", "comment", "--comment", comment, ...match, ...conf.conditions[family]];
      return { chain: dnat, args: [...args, "-j", chain] };
    });
  });
}

function mappingRules(
  { snat, externalSetMarkChain }: PortmapConf,
  chain: string,
  { hostPort, containerPort, protocol, hostIp }: PortMapping,
  { family, cidr, ip }: PodAddress,
): readonly Rule[] {
  if (hostIp !== undefined && ipVersion(hostIp) !== family) return [];
  const isOne = hostIp !== undefined && !isUnspecified(hostIp);
  const port = ["-p", protocol, "--dport", String(hostPort), ...(isOne ? ["-d", hostIp] : [])];
  const mark = ["-j", externalSetMarkChain ?? setMark];
  const sources = !snat ? [] : family === 4 ? [cidr, "127.0.0.1"] : [cidr];
  const target = family === 4 ? `${ip}:${containerPort}` : `[${ip}]:${containerPort}`;
  return [
    ...sources.map((source) => ({ chain, args: [...port, "-s", source, ...mark] })),
    { chain, args: [...port, "-j", "DNAT", "--to-destination", target] },
  ];
}

/** True for 0.0.0.0 and for all forms of ::. */
export function isUnspecified(ip: string): boolean {
  return ip === "0.0.0.0" || /^[0:]+$/.test(ip);
}

function unique(rules: readonly Rule[]): readonly Rule[] {
  const byText = new Map(rules.map((rule) => [JSON.stringify(rule), rule]));
  return [...byText.values()];
}

function chunks<T>(items: readonly T[], size: number): readonly (readonly T[])[] {
  const count = Math.ceil(items.length / size);
  return Array.from({ length: count }, (_, at) => items.slice(at * size, (at + 1) * size));
}
