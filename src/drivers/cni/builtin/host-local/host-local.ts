// The IPAM plugin host-local, as version 1.1.1 does it.
import { join } from "node:path";

import { readRegular } from "../../../../linux/file/index.ts";
import { isObject, type JsonObject } from "../../conflist.ts";
import type { CniAddress, CniDns, CniResult, CniRoute } from "../../result.ts";
import {
  type Address,
  formatAddress,
  formatCidr,
  isSame,
  networkOf,
  parseAddress,
  parseCidr,
} from "../address.ts";
import { commonKeys, isPath, isText, obstacleIn } from "../known-keys.ts";
import type { PluginCall } from "../plugin.ts";
import {
  candidates,
  checkOverlaps,
  formatRange,
  isInRange,
  parseRange,
  parseRangeSets,
  type RangeSet,
  rangeKeys,
} from "./ranges.ts";
import { ReservationStore, type Reservations } from "./store.ts";

/** What the plugin that needs addresses gets. */
export interface IpamResult {
  readonly ips: readonly CniAddress[];
  readonly routes: readonly CniRoute[];
  readonly dns: CniDns;
}

interface HostLocalConf {
  readonly directory: string;
  readonly sets: readonly RangeSet[];
  readonly routes: readonly CniRoute[];
  readonly resolvConf: string | undefined;
}

const defaultDataDir = "/var/lib/cni/networks";

/** Why the plugin itself must run, for the value of "ipam". */
export function ipamObstacle(conf: JsonObject): string | undefined {
  const ipam = conf["ipam"];
  if (!isObject(ipam)) return "it has no ipam";
  if (ipam["type"] !== "host-local") return "davit knows no other ipam than host-local";
  const known = {
    ...commonKeys,
    ...rangeKeys,
    ranges: any,
    routes: any,
    dataDir: isPath,
    resolvConf: isPath,
  };
  const unknown = obstacleIn(ipam, known, "ipam.");
  if (unknown !== undefined) return unknown;
  if (isText(conf["name"]) !== undefined) return '"name" is missing';
  try {
    parseConf(conf);
    return undefined;
  } catch (error) {
    return `ipam: ${(error as Error).message}`;
  }
}

const any = (): undefined => undefined;

/** Throws with the reason when the plugin would not take it, or when it is not known here. */
function parseConf(conf: JsonObject): HostLocalConf {
  const ipam = isObject(conf["ipam"]) ? conf["ipam"] : {};
  const given = isObject(conf["runtimeConfig"]) ? conf["runtimeConfig"]["ipRanges"] : undefined;
  const single = ipam["subnet"] === undefined ? [] : [[parseRange(pickRange(ipam))]];
  if (single.length === 0 && Object.keys(pickRange(ipam)).length > 0)
    throw new Error('"subnet" is missing');
  const own = [...single, ...parseRangeSets(ipam["ranges"] ?? [])];
  const sets = [...parseRangeSets(given ?? []), ...own];
  checkOverlaps(sets);
  const dataDir = (ipam["dataDir"] as string | undefined) ?? defaultDataDir;
  return {
    directory: join(dataDir, conf["name"] as string),
    sets,
    routes: parseRoutes(ipam["routes"] ?? []),
    resolvConf: ipam["resolvConf"] as string | undefined,
  };
}

function pickRange(ipam: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(ipam).filter(([key]) => Object.hasOwn(rangeKeys, key)));
}

function parseRoutes(value: unknown): readonly CniRoute[] {
  if (!Array.isArray(value)) throw new Error('"routes" must be a list');
  return value.map((route: unknown) => {
    if (!isObject(route)) throw new Error("a route must be an object");
    const unknown = obstacleIn(route, { dst: any, gw: any });
    const [dst, gw] = [parseCidr(route["dst"]), parseAddress(route["gw"])];
    if (unknown !== undefined) throw new Error(unknown);
    if (dst === undefined || !isSame(networkOf(dst), dst))
      throw new Error('"dst" must be a network');
    if (route["gw"] === undefined) return { dst: formatCidr(dst) };
    if (gw?.family !== dst.family)
      throw new Error('"gw" must be an address of the family of "dst"');
    return { dst: formatCidr(dst), gw: formatAddress(gw) };
  });
}

/** Reserves an address of each range set. A failure has freed what it reserved. */
export async function addAddresses(call: PluginCall): Promise<IpamResult> {
  const { directory, sets, routes, resolvConf } = parseConf(call.conf);
  if (sets.length === 0) throw new Error("no IP ranges specified");
  const dns =
    resolvConf === undefined
      ? {}
      : parseResolvConf(await readRegular(resolvConf, `read "${resolvConf}"`));
  using store = await ReservationStore.open(directory, call.signal);
  const found = await store.load();
  const before = found.addressesOf(call);
  const reserved: CniAddress[] = [];
  const names: string[] = [];
  try {
    for (const [at, set] of sets.entries()) {
      const { address, range } = choose({ set, at, found, before, id: call.containerId });
      await store.reserve(call, address, at);
      names.push(formatAddress(address));
      reserved.push({
        address: formatCidr({ ...address, length: range.subnet.length }),
        gateway: formatAddress(range.gateway),
      });
    }
  } catch (error) {
    await store.release(names);
    throw error;
  }
  return { ips: reserved, routes, dns };
}

function choose(options: {
  readonly set: RangeSet;
  readonly at: number;
  readonly found: Reservations;
  readonly before: readonly Address[];
  readonly id: string;
}) {
  const { set, at, found, before, id } = options;
  const own = before.find((address) => set.some((range) => isInRange(range, address)));
  const failed = `failed to allocate for range ${at}`;
  if (own !== undefined) {
    throw new Error(
      `${failed}: ${formatAddress(own)} has been allocated to ${id}, duplicate allocation is not allowed`,
    );
  }
  for (const candidate of candidates(set, found.last(at))) {
    if (!found.isTaken(candidate.address)) return candidate;
  }
  const ranges = set.map(formatRange).join(",");
  throw new Error(`${failed}: no IP addresses available in range set: ${ranges}`);
}

/**
 * Frees the addresses of the attachment; does nothing when it has none. Unlike the plugin it also frees those of the
 * recorded result whose files name nobody: nothing syncs these files, and a power cut takes their content.
 */
export async function releaseAddresses(call: PluginCall, recorded?: CniResult): Promise<void> {
  const { directory, sets } = parseConf(call.conf);
  if (sets.length === 0) throw new Error("no IP ranges specified");
  const given = (recorded?.ips ?? []).flatMap(({ address }) => parseCidr(address) ?? []);
  using store = await ReservationStore.open(directory, call.signal);
  const found = await store.load();
  await store.release([...found.filesOf(call), ...found.ownerlessOf(given)]);
}

function parseResolvConf(text: string): CniDns {
  const [nameservers, search, options]: string[][] = [[], [], []];
  let domain = "";
  for (const line of text.split("\n").map((each) => each.trim())) {
    const [key, first, ...more] = line.split(/\s+/);
    if (line.startsWith("#") || line.startsWith(";") || first === undefined) continue;
    if (key === "nameserver") nameservers?.push(first);
    else if (key === "domain") domain = first;
    else if (key === "search") search?.push(first, ...more);
    else if (key === "options") options?.push(first, ...more);
  }
  return dnsOf({ nameservers, domain, search, options });
}

/** Without what is empty, as the plugins print it. */
export function dnsOf(dns: { readonly [K in keyof CniDns]?: CniDns[K] | undefined }): CniDns {
  return Object.fromEntries(
    Object.entries(dns).filter(([, value]) => value !== undefined && value.length > 0),
  );
}
