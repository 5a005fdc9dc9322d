import { ipVersion } from "../../../base/ip-address.ts";
import { quote, quoteValue } from "../../../base/quote.ts";
import { isObject } from "../conflist.ts";
import { isChainName, isName, longestName } from "./rule-text.ts";

/** One host port. Checked: nothing in it can mean anything else to iptables or nft. */
export interface PortMapping {
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: "tcp" | "udp" | "sctp";
  /** Undefined for all addresses of the host, of either family. */
  readonly hostIp: string | undefined;
}

/** The configuration of portmap, checked. */
export interface PortmapConf {
  readonly network: string;
  readonly backend: "iptables" | "nftables";
  readonly snat: boolean;
  readonly conditions: { readonly 4: readonly string[]; readonly 6: readonly string[] };
  readonly markMasqBit: number;
  readonly externalSetMarkChain: string | undefined;
  readonly mappings: readonly PortMapping[];
}

/** Why the plugin itself must run. */
class Obstacle extends Error {}

type Json = Readonly<Record<string, unknown>>;

const knownKeys = [
  "name",
  "type",
  "cniVersion",
  "capabilities",
  "runtimeConfig",
  "backend",
  "snat",
  "conditionsV4",
  "conditionsV6",
  "markMasqBit",
  "externalSetMarkChain",
];

// Kubernetes uses bits 14 and 15 (README of portmap).
const defaultMarkBit = 13;

// What may restrict a host port. Other words could be commands of iptables, or name another table.
const conditionOptions = new Set([
  "!",
  "-d",
  "-s",
  "-i",
  "-o",
  "-m",
  "--destination",
  "--source",
  "--in-interface",
  "--out-interface",
  "--match",
  "--dst-type",
  "--src-type",
  "--dst-range",
  "--src-range",
  "--mark",
  "--ctstate",
  "--match-set",
]);
const conditionValue = /^[A-Za-z0-9][\w.,:/+-]{0,127}$/;

/** The configuration of portmap, or why the plugin itself must run: what is not known here, or would fail there. */
export function parsePortmapConf(conf: Json): PortmapConf | { readonly obstacle: string } {
  try {
    return checkedConf(conf);
  } catch (error) {
    if (error instanceof Obstacle) return { obstacle: error.message };
    throw error;
  }
}

function checkedConf(conf: Json): PortmapConf {
  refuseUnknown(conf, knownKeys, "");
  const network = conf["name"];
  if (typeof network !== "string" || !isName(network, longestName)) {
    throw new Obstacle(`"name" ${quoteValue(network)} does not fit into the comment of a rule`);
  }
  const backend = optional(conf, "backend", "iptables", isBackend);
  const externalSetMarkChain = optional(conf, "externalSetMarkChain", undefined, isMarkChain);
  if (externalSetMarkChain !== undefined && isSet(conf, "markMasqBit")) {
    throw new Obstacle('"externalSetMarkChain" excludes "markMasqBit"');
  }
  const conditions = {
    4: optional(conf, "conditionsV4", [], areConditions),
    6: optional(conf, "conditionsV6", [], areConditions),
  };
  const hasIptablesOptions =
    externalSetMarkChain !== undefined || conditions[4].length + conditions[6].length > 0;
  if (backend === "nftables" && hasIptablesOptions) {
    throw new Obstacle(
      'with "backend" "nftables", conditions and "externalSetMarkChain" are not known',
    );
  }
  return {
    network,
    backend,
    snat: optional(conf, "snat", true, (value) => typeof value === "boolean"),
    conditions,
    markMasqBit: optional(conf, "markMasqBit", defaultMarkBit, isMarkBit),
    externalSetMarkChain,
    mappings: mappingsOf(conf["runtimeConfig"]),
  };
}

function refuseUnknown(object: Json, known: readonly string[], where: string): void {
  // The plugins compare keys without regard to case, so that another spelling is not unknown to them.
  const unknown = Object.keys(object).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new Obstacle(`${where}${quote(unknown)} is not known`);
}

// null is to the plugins as if the key were missing.
function isSet(conf: Json, key: string): boolean {
  return conf[key] !== undefined && conf[key] !== null;
}

function optional<T, U>(
  conf: Json,
  key: string,
  missing: U,
  isValid: (value: unknown) => value is T,
): T | U {
  const value = conf[key];
  if (!isSet(conf, key)) return missing;
  if (isValid(value)) return value;
  throw new Obstacle(`"${key}" ${quoteValue(value)} is not known`);
}

function isBackend(value: unknown): value is PortmapConf["backend"] {
  return value === "iptables" || value === "nftables";
}

function isMarkChain(value: unknown): value is string {
  return typeof value === "string" && isChainName(value);
}

function isMarkBit(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 0 && Number(value) <= 31;
}

function areConditions(value: unknown): value is readonly string[] {
  if (!Array.isArray(value) || value.length > 32) return false;
  return value.every(
    (word) => typeof word === "string" && (conditionOptions.has(word) || conditionValue.test(word)),
  );
}

function mappingsOf(runtimeConfig: unknown): readonly PortMapping[] {
  if (runtimeConfig === undefined) return [];
  if (!isObject(runtimeConfig)) throw new Obstacle('"runtimeConfig" is not an object');
  refuseUnknown(runtimeConfig, ["portMappings"], "runtimeConfig: ");
  const mappings = runtimeConfig["portMappings"] ?? [];
  if (!Array.isArray(mappings)) throw new Obstacle('"portMappings" is not a list');
  return mappings.map(mappingOf);
}

function mappingOf(value: unknown): PortMapping {
  if (!isObject(value)) throw new Obstacle('"portMappings" must have objects');
  refuseUnknown(value, ["hostPort", "containerPort", "protocol", "hostIP"], "portMappings: ");
  const { hostPort, containerPort, protocol, hostIP } = value;
  if (!isPort(hostPort)) throw new Obstacle(`host port ${quoteValue(hostPort)} is not valid`);
  if (!isPort(containerPort)) {
    throw new Obstacle(`container port ${quoteValue(containerPort)} is not valid`);
  }
  if (protocol !== "tcp" && protocol !== "udp" && protocol !== "sctp") {
    throw new Obstacle(`protocol ${quoteValue(protocol)} is not known`);
  }
  return { hostPort, containerPort, protocol, hostIp: hostIpOf(hostIP) };
}

function isPort(value: unknown): value is number {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65_535;
}

function hostIpOf(value: unknown): string | undefined {
  if (value === undefined || value === "") return undefined;
  // An IPv4 address in an IPv6 one belongs to IPv4 in the plugins, and to neither in iptables.
  const isPlain = typeof value === "string" && !(value.includes(":") && value.includes("."));
  // In the one form that iptables prints, so that equal rules have equal texts.
  if (isPlain && ipVersion(value) === 6) return new URL(`http://[${value}]`).hostname.slice(1, -1);
  if (isPlain && ipVersion(value) === 4) return value;
  throw new Obstacle(`host IP ${quoteValue(value)} is not known`);
}
