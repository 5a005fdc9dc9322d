import { ipVersion } from "../../base/ip-address.ts";
import type { EgressRule } from "../../core/sandbox/index.ts";

const chain = "DAVIT-EGRESS";

// What IPv6 needs to send anything: neighbor discovery (RFC 4861) and reports of multicast listeners (RFC 3810), by
// which switches know where neighbors are.
const ipv6Basics: readonly string[] = [
  ...[133, 135, 136].map((type) => `-p ipv6-icmp -m icmp6 --icmpv6-type ${type}`),
  "-d ff02::/16 -p ipv6-icmp -m icmp6 --icmpv6-type 143",
];

/**
 * The input of iptables-restore --noflush for one family. Allowed packets return to OUTPUT, so that rules of
 * plugins in the namespace still apply to them.
 *
 * Only packets of established connections are allowed besides the destinations, and not related ones: an ICMP error
 * can carry bytes of the sender's choice.
 */
export function restoreInput(
  family: 4 | 6,
  rules: readonly EgressRule[],
  nameServers: readonly string[],
): string {
  const allowed = [
    "-o lo",
    "-m conntrack --ctstate ESTABLISHED",
    ...(family === 6 ? ipv6Basics : []),
    ...rules.flatMap((rule) => matchesOf(family, rule, nameServers)),
  ];
  const prohibited = family === 4 ? "icmp-admin-prohibited" : "icmp6-adm-prohibited";
  return [
    "*filter",
    `:${chain} - [0:0]`,
    `-I OUTPUT 1 -j ${chain}`,
    ...allowed.map((match) => `-A ${chain} ${match} -j RETURN`),
    // The kernel drops an ICMP error for a socket that is just connecting; a reset ends connect(2) at once.
    `-A ${chain} -p tcp -j REJECT --reject-with tcp-reset`,
    `-A ${chain} -j REJECT --reject-with ${prohibited}`,
    "COMMIT",
    "",
  ].join("\n");
}

function matchesOf(
  family: 4 | 6,
  rule: EgressRule,
  nameServers: readonly string[],
): readonly string[] {
  if (rule.to === "dns") {
    const servers = nameServers.filter((server) => ipVersion(server) === family);
    return servers.flatMap((server) => byPorts(server, ["tcp", "udp"], "53"));
  }
  if (rule.family !== family) return [];
  const { cidr, protocol, ports } = rule;
  if (ports !== undefined) {
    const protocols = protocol === undefined ? ["tcp", "udp"] : [protocol];
    return byPorts(cidr, protocols, `${ports.first}:${ports.last}`);
  }
  return protocol === undefined ? [`-d ${cidr}`] : [`-d ${cidr} -p ${protocol}`];
}

function byPorts(to: string, protocols: readonly string[], ports: string): readonly string[] {
  return protocols.map((protocol) => `-d ${to} -p ${protocol} -m ${protocol} --dport ${ports}`);
}

/** The name servers in a resolv.conf(5). Others than plain addresses are left out. */
export function nameServersIn(resolvConf: string): readonly string[] {
  return resolvConf.split("\n").flatMap((line) => {
    const [word, server = ""] = line.trim().split(/[ \t]+/);
    return word === "nameserver" && ipVersion(server) !== undefined ? [server] : [];
  });
}
