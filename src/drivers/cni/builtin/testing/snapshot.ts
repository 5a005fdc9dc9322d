// What a network has made, as ip(8) and the kernel's files show it, without what differs between any two pods.
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

import { readFiles, readFilesInNamespace } from "../../../../linux/file/index.ts";

const runFile = promisify(execFile);

/** Commands of `ip -batch`. */
export const ipCommands = "addr show\nroute show table all\n";

// Numbers that the kernel gives, times, what traffic changes, and the other end of a veth, which ip(8) looks up in the wrong namespace.
const leftOut =
  /timer|_id$|^(ifindex|link|link_index|link_netnsid|ifalias|hash|.*age.*|designated_.*|no|fdb_n_learned)$/;

/** The links, addresses and routes of a namespace, or of this process without one. */
async function ipOutput(batch: string, netns: string | undefined): Promise<unknown> {
  const run = async (family: string): Promise<string> => {
    const args = [family, "-j", "-d", "-batch", batch];
    const [file, all] =
      netns === undefined ? ["ip", args] : ["nsenter", [`--net=${netns}`, "ip", ...args]];
    const { stdout } = await runFile(file, all);
    return stdout.trim().replaceAll("\n", ",");
  };
  const text = `[${await run("-4")},${await run("-6")}]`;
  const read = (key: string, value: unknown) => (leftOut.test(key) ? undefined : value);
  const [links, routes, links6, routes6] = JSON.parse(text, read) as unknown[][];
  // The kernel lists routes of the same length in any order.
  return { links, links6, routes: sorted(routes), routes6: sorted(routes6) };
}

function sorted(routes: readonly unknown[] = []): readonly string[] {
  const texts = routes.map((route) => JSON.stringify(withoutRandom(route)));
  // An interface has this one if its address was there before the node became a router: a race in the kernel.
  return texts.filter((text) => !text.includes('"type":"anycast","dst":"fe80::"')).sort();
}

/** The values of all sysctls of an interface. */
async function sysctlsOf(name: string, netns: string | undefined): Promise<unknown> {
  const paths = ["ipv4", "ipv6"].flatMap((family) =>
    readdirSync(`/proc/sys/net/${family}/conf/lo`).map(
      (key) => `/proc/sys/net/${family}/conf/${name}/${key}`,
    ),
  );
  const all = [
    ...paths,
    "/proc/sys/net/ipv4/ip_forward",
    "/proc/sys/net/ipv6/conf/all/forwarding",
    "/proc/sys/net/core/somaxconn",
    "/proc/sys/net/ipv6/conf/lo/disable_ipv6",
  ];
  const texts = await (netns === undefined
    ? readFiles(all)
    : readFilesInNamespace({ net: netns }, all));
  return Object.fromEntries(all.map((path, at) => [path, texts[at]]));
}

/** The files below a directory with their contents. */
export function filesBelow(directory: string): Readonly<Record<string, string>> {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile());
  const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
  return Object.fromEntries(paths.map((path) => [path, readFileSync(path, "utf8")]));
}

/** Replaces what is random: names of veth links, MAC addresses, and the addresses that are made of these. */
export function withoutRandom(value: unknown, keptMac = "0a:58:00:00:00:07"): unknown {
  const text = JSON.stringify(value)
    .replace(/veth[0-9a-f]{8}/g, "veth")
    .replace(/(?<=")[0-9a-f]{2}(:[0-9a-f]{2}){5}(?=\\?")/g, (mac) =>
      mac === keptMac ? mac : "mac",
    )
    .replace(/fe80::[0-9a-f:]{2,}/g, "fe80::x");
  return JSON.parse(text) as unknown;
}

/** Without the carrier of a bridge, which follows its ports by up to a second. */
function withoutCarrier(value: unknown, bridge: string): unknown {
  const carrier = ["NO-CARRIER", "LOWER_UP", "linkdown"];
  const read = (_key: string, each: unknown): unknown => {
    if (Array.isArray(each)) return each.filter((item: unknown) => !carrier.includes(String(item)));
    const isBridge =
      typeof each === "object" && each !== null && "ifname" in each && each.ifname === bridge;
    return isBridge ? { ...each, operstate: undefined } : each;
  };
  const text = JSON.stringify(value).replaceAll('[\\"linkdown\\"]', "[]");
  return JSON.parse(text, read) as unknown;
}

/** A snapshot of the node and of the pods. */
export async function takeSnapshot(options: {
  /** A file with {@link ipCommands}. */
  readonly batch: string;
  readonly bridge: string;
  readonly pods: readonly string[];
  readonly directories: readonly string[];
}): Promise<unknown> {
  const { batch, bridge, pods, directories } = options;
  const inside = async (netns: string) => ({
    ip: await ipOutput(batch, netns),
    sysctls: await sysctlsOf("eth0", netns),
  });
  const ip = await ipOutput(batch, undefined);
  const veths = new Set(JSON.stringify(ip).match(/veth[0-9a-f]{8}/g));
  const node = {
    ip: withoutCarrier(ip, bridge),
    bridge: await sysctlsOf(bridge, undefined),
    veths: await Promise.all([...veths].map((name) => sysctlsOf(name, undefined))),
  };
  return withoutRandom({
    node,
    pods: await Promise.all(pods.map(inside)),
    files: directories.map(filesBelow),
  });
}

/** Where two values differ, as `path: one, other`; at most ten. */
export function differences(one: unknown, other: unknown, path = ""): readonly string[] {
  if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) {
    return one === other ? [] : [`${path}: ${JSON.stringify(one)}, ${JSON.stringify(other)}`];
  }
  const keys = new Set([...Object.keys(one), ...Object.keys(other)]);
  const [left, right] = [one, other] as Readonly<Record<string, unknown>>[];
  return [...keys]
    .flatMap((key) => differences(left?.[key], right?.[key], `${path}/${key}`))
    .slice(0, 10);
}
