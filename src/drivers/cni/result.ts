import { isIPv4 } from "node:net";

import { RuntimeError } from "../../base/errors.ts";
import { quoteValue } from "../../base/quote.ts";
import { parseCidr } from "./attachment-args.ts";
import { isObject, type JsonObject, parseObject, without } from "./conflist.ts";
import { type CniVersion, isAtLeast, supportedVersions } from "./version.ts";

/** One interface of a result. */
export interface CniInterface {
  readonly name: string;
  readonly mac?: string;
  readonly mtu?: number;
  /** Path of the network namespace; not there for an interface on the host. */
  readonly sandbox?: string;
}

/** One address of a result. */
export interface CniAddress {
  /** With its length, as in "10.0.0.2/24". */
  readonly address: string;
  readonly gateway?: string;
  /** Index of its interface. */
  readonly interface?: number;
}

/** One route of a result. */
export interface CniRoute {
  readonly dst: string;
  readonly gw?: string;
}

/** What an interface needs to look up names. */
export interface CniDns {
  readonly nameservers?: readonly string[];
  readonly domain?: string;
  readonly search?: readonly string[];
  readonly options?: readonly string[];
}

/** The result of ADD at version 1.0.0 as JSON (specification, section 5, "Success"). */
export interface CniResult {
  readonly cniVersion: string;
  readonly interfaces?: readonly CniInterface[];
  readonly ips?: readonly CniAddress[];
  readonly routes?: readonly CniRoute[];
  readonly dns?: CniDns;
}

function invalid(message: string): RuntimeError {
  return new RuntimeError("internal", message);
}

function list(result: JsonObject, key: string): readonly JsonObject[] {
  const value = result[key] ?? [];
  if (!Array.isArray(value)) throw invalid(`"${key}" must be a list`);
  return value.map((item) => {
    if (!isObject(item)) throw invalid(`"${key}" must hold objects`);
    return item;
  });
}

function addressOf(ip: JsonObject): string {
  const { address } = ip;
  const host = typeof address === "string" ? parseCidr(address) : undefined;
  if (host === undefined) {
    throw invalid(`"ips" must hold addresses like "10.0.0.2/24", got ${quoteValue(address)}`);
  }
  return host;
}

function isKnown(version: unknown): boolean {
  return supportedVersions.some((known) => known === version);
}

/** Parses the answer of a plugin to ADD, in the form of {@link convertResult}. Throws `internal`. */
export function parseResult(text: string, version: CniVersion): JsonObject {
  return convertResult(parseObject(text), version);
}

/**
 * Converts a result to the form that the next plugin expects at
 * `version`: until 0.4.0 an address has its family, from 1.0.0 on it must not (specification,
 * section 5; plugins may answer in another version than they were asked in). Throws `internal`.
 */
export function convertResult(result: JsonObject, version: CniVersion): JsonObject {
  const answered = result["cniVersion"] ?? version;
  if (!isKnown(answered)) throw invalid(`"cniVersion" ${quoteValue(answered)} is not supported`);
  list(result, "interfaces");
  const ips = list(result, "ips").map((ip) => {
    const host = addressOf(ip);
    const rest = without(ip, "version");
    return isAtLeast(version, "1.0.0") ? rest : { version: isIPv4(host) ? "4" : "6", ...rest };
  });
  return { ...result, cniVersion: version, ...(result["ips"] !== undefined && { ips }) };
}

/**
 * The addresses of interface `ifName` inside the pod, the primary one first: the first IPv4 one, or
 * the first at all when there is none; the others in the plugins' order (containerd's default,
 * `ip_pref = "ipv4"`). Throws `internal` when there is none at all, since a pod without an address
 * is useless, and kubelet would ask for it forever.
 */
export function podAddresses(result: JsonObject, ifName: string): readonly string[] {
  const interfaces = list(result, "interfaces");
  const named = interfaces.filter(({ name }) => name === ifName);
  // Some plugins leave "sandbox" out. A namesake on the host must not win over one that has it.
  const inside = named.filter(({ sandbox }) => typeof sandbox === "string" && sandbox !== "");
  const wanted = inside.length > 0 ? inside : named;
  const addresses = list(result, "ips")
    .filter((ip) => {
      const at = ip["interface"];
      // Without an index the address belongs to the interface that was asked for.
      if (at === undefined || at === null) return true;
      const owner = typeof at === "number" ? interfaces[at] : undefined;
      if (owner === undefined)
        throw invalid(`"ips" names interface ${quoteValue(at)}, which is not there`);
      return wanted.includes(owner);
    })
    .map(addressOf);
  if (addresses.length === 0) throw invalid(`the plugins gave no address to "${ifName}"`);
  const primary = addresses.find((address) => isIPv4(address));
  if (primary === undefined) return addresses;
  return [primary, ...addresses.filter((address) => address !== primary)];
}
