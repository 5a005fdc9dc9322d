import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** The fields of `ip -json` that identify an object. All others change by themselves. */
interface IpLink {
  readonly ifname: string;
  readonly linkinfo?: { readonly info_kind?: string };
}
interface IpAddress {
  readonly ifname: string;
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

/** Reads them all. If a tool is not installed, there are no objects of it. */
export async function networkNames(): Promise<NetworkNames> {
  const [links, addresses, routes4, routes6, nft, ...tables] = await Promise.all([
    output("ip", ["-json", "-details", "link", "show"]),
    output("ip", ["-json", "address", "show"]),
    output("ip", ["-json", "-4", "route", "show", "table", "all"]),
    output("ip", ["-json", "-6", "route", "show", "table", "all"]),
    output("nft", ["--stateless", "list", "ruleset"]),
    ...iptablesTools.map(async (tool) => iptablesNames(tool, await output(tool, []))),
  ]);
  return {
    link: (parse(links) as readonly IpLink[]).map(
      ({ ifname, linkinfo }) => `${ifname} (${linkinfo?.info_kind ?? "device"})`,
    ),
    address: (parse(addresses) as readonly IpAddress[]).flatMap(addressNames),
    route: ([...parse(routes4), ...parse(routes6)] as readonly IpRoute[]).flatMap(routeNames),
    iptables: tables.flat(),
    nft: nftNames(nft),
  };
}

// The legacy tools and the nft tools have different tables; "iptables" can be either.
const iptablesTools = [
  "iptables-save",
  "ip6tables-save",
  "iptables-legacy-save",
  "ip6tables-legacy-save",
];

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
  return [`${type ?? ""} ${dst}${via} dev ${dev ?? ""} table ${table ?? "main"}`.trim()];
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

/** `ip -json` prints an empty text if there are no objects. */
function parse(json: string): readonly unknown[] {
  return json.trim() === "" ? [] : (JSON.parse(json) as readonly unknown[]);
}

async function output(command: string, args: readonly string[]): Promise<string> {
  try {
    return (await run(command, args, { maxBuffer: 64 << 20 })).stdout;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return "";
    throw error;
  }
}
