import { readFile, writeFile } from "node:fs/promises";
import { errnoCode, systemError } from "../../../base/system-error.ts";
import { deleteUdpFlows } from "../../../linux/host/index.ts";
import type { Family } from "./iptables.ts";

/** What host ports change on the host besides rules. */
export interface HostNetwork {
  /** Lets packets from 127.0.0.0/8 leave by the interface that leads to `ip`. Nothing if none does. */
  routeLocalnetTo(ip: string): Promise<void>;
  /** Forgets the UDP flows to these ports of the host. A failure is ignored. */
  forgetUdpFlows(family: Family, ports: ReadonlySet<number>): Promise<void>;
}

/** The network of this process. */
export const hostNetwork: HostNetwork = {
  async routeLocalnetTo(ip) {
    const ifName = interfaceTo(ip, await readFile("/proc/net/route", "utf8"));
    if (ifName === undefined) return;
    const path = `/proc/sys/net/ipv4/conf/${ifName}/route_localnet`;
    try {
      // The kernel tells others about a sysctl that is written, even if its value stays.
      if ((await readFile(path, "utf8")).trim() !== "1") await writeFile(path, "1");
    } catch (error) {
      // The interface has gone.
      if (errnoCode(error) !== "ENOENT") throw systemError(`write sysctl "${path}"`, error);
    }
  },

  async forgetUdpFlows(family, ports) {
    // Without them, new packets have the new rules already; the plugin does the same.
    await deleteUdpFlows(family, ports).catch(() => undefined);
  },
};

/**
 * The interface by which an IPv4 address is reached, by the text of /proc/net/route: the route with the longest mask,
 * and of those the one with the least metric.
 */
export function interfaceTo(ip: string, table: string): string | undefined {
  const address = Buffer.from(ip.split(".").map(Number)).readUInt32LE(0);
  const routes = table
    .split("\n")
    .slice(1)
    .map((line) => line.split("\t"))
    .filter((columns) => columns.length >= 8)
    .map(([name = "", destination = "", , flags = "", , , metric = "", mask = ""]) => ({
      name,
      destination: Number.parseInt(destination, 16),
      isUp: (Number.parseInt(flags, 16) & 1) !== 0,
      metric: Number(metric),
      mask: Number.parseInt(mask, 16),
    }))
    .filter(({ isUp, destination, mask }) => isUp && (address & mask) >>> 0 === destination >>> 0);
  return routes.toSorted((a, b) => bits(b.mask) - bits(a.mask) || a.metric - b.metric)[0]?.name;
}

function bits(mask: number): number {
  return mask.toString(2).replaceAll("0", "").length;
}
