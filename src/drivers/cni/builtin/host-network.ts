import { readFile, writeFile } from "node:fs/promises";
import { errnoCode, systemError } from "../../../base/system-error.ts";
import { deleteUdpFlows } from "../../../linux/host/index.ts";
import { interfaceTo } from "../../../linux/netlink/index.ts";
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
    const ifName = await interfaceTo(ip);
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
