import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The fields of `ip -json` that identify an object. All others change by themselves. */
interface IpAddress {
  readonly ifname: string;
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info: readonly {
    local: string;
    prefixlen: number;
    family: string;
    scope: string;
  }[];
}
interface IpRoute {
  readonly dst: string;
  readonly type?: string;
  readonly gateway?: string;
  readonly dev?: string;
  readonly table?: string;
  readonly protocol?: string;
}

/** Links, addresses, routes and filter rules of this network namespace, by kind. */
interface NetworkNames {
  readonly link: readonly string[];
  readonly address: readonly string[];
  readonly route: readonly string[];
  readonly iptables: readonly string[];
  readonly nft: readonly string[];
}

/** Both commands print the objects of IPv4 and of IPv6 (ip(8), -batch). */
const ipCommands = path.join(import.meta.dirname, "network.ip");

/**
 * Reads them all. If a tool is not installed, there are no objects of it. This runs before and after each test, so it
 * starts no program that has nothing to show.
 */
export async function networkNames(): Promise<NetworkNames> {
  const [objects, nft] = await Promise.all([
    output("ip", ["-json", "-details", "-batch", ipCommands]),
    output("nft", ["--stateless", "list", "ruleset"]),
  ]);
  const tables = await Promise.all(
    iptablesTools(nft).map(async (tool) => iptablesNames(tool, (await output(tool, [])) ?? "")),
  );
  const lines = (objects ?? "").split("\n").filter((line) => line !== "");
  const [addresses = [], routes = []] = lines.map((line) => JSON.parse(line) as unknown);
  return {
    link: (addresses as readonly IpAddress[]).map(
      ({ ifname, linkinfo }) => `${ifname} (${linkinfo?.info_kind ?? "device"})`,
    ),
    address: (addresses as readonly IpAddress[]).flatMap(addressNames),
    route: (routes as readonly IpRoute[]).flatMap(routeNames),
    iptables: tables.flat(),
    nft: nftNames(nft ?? ""),
  };
}

/**
 * The tools that have rules or chains to print. Those of nftables have none without a table of their family, which
 * nft(8) lists; the legacy ones have none without a name in a file of the kernel, which they read themselves.
 * "iptables-save" can be either.
 */
function iptablesTools(nft: string | undefined): readonly string[] {
  return ["ip", "ip6"].flatMap((family) => {
    const hasLegacy = legacyTables(family) !== "";
    const hasNft = nft === undefined || new RegExp(`^table ${family} `, "m").test(nft);
    return [
      ...(hasNft || hasLegacy ? [`${family}tables-save`] : []),
      ...(hasLegacy ? [`${family}tables-legacy-save`] : []),
    ];
  });
}

/** The names of the legacy tables of this network namespace; none if the kernel has not loaded them. */
function legacyTables(family: string): string {
  try {
    return readFileSync(`/proc/self/net/${family}_tables_names`, "latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}

/** Link-local IPv6 addresses belong to their link: only the link can leak. */
function addressNames({ ifname, addr_info }: IpAddress): readonly string[] {
  return addr_info
    .filter(({ family, scope }) => family === "inet" || scope !== "link")
    .map(({ local, prefixlen }) => `${local}/${prefixlen} on ${ifname}`);
}

/** Routes that the kernel keeps itself, for each address and for multicast, are left out. */
function routeNames({ dst, type, gateway, dev, table, protocol }: IpRoute): readonly string[] {
  if (["local", "broadcast", "multicast", "anycast"].includes(type ?? "")) return [];
  if (protocol === "kernel" && /^(fe80|ff00)::/.test(dst)) return [];
  const via = gateway === undefined ? "" : ` via ${gateway}`;
  const kind = type === "unicast" ? "" : (type ?? "");
  return [`${kind} ${dst}${via} dev ${dev ?? ""} table ${table ?? "main"}`.trim()];
}

/** Rules, and chains that are not the kernel's own: those exist as soon as they are listed. */
function iptablesNames(tool: string, saved: string): readonly string[] {
  let table = "";
  return saved.split("\n").flatMap((line) => {
    if (line.startsWith("*")) table = line.slice(1);
    const rule = line.startsWith("-A ");
    const chain = line.startsWith(":") && line.split(" ")[1] === "-";
    const policy = line.startsWith(":") && line.split(" ")[1] === "DROP";
    if (!rule && !chain && !policy) return [];
    return [`${tool} ${table} ${line.replace(/ ?\[\d+:\d+\]/, "")}`];
  });
}

/**
 * Rules, sets and regular chains by table and chain. Tables and base chains alone are left out:
 * iptables-nft makes them on its first use and never removes them.
 */
function nftNames(ruleset: string): readonly string[] {
  const names: string[] = [];
  const where: string[] = [];
  let block: string[] = [];
  for (const line of ruleset.split("\n").map((text) => text.trim())) {
    if (line === "" || line.startsWith("#")) continue;
    if (line.endsWith("{")) {
      where.push(line.slice(0, -1).trim());
      block = [];
    } else if (line === "}") {
      const isBase = block.some((text) => text.startsWith("type ") && text.includes(" hook "));
      if (where.length > 1 && !isBase) names.push(where.join(" / "));
      where.pop();
      // The next closing brace is that of a table, which is not an object of its own.
      block = [];
    } else {
      block.push(line);
      const isHook = line.startsWith("type ") && line.includes(" hook ");
      if (!isHook || line.includes("policy drop")) names.push(`${where.join(" / ")}: ${line}`);
    }
  }
  return names;
}

/** What a tool prints; undefined if it is not installed. */
async function output(command: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await run(command, args, { maxBuffer: 64 << 20 })).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
