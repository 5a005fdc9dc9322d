import type { InterfaceUsage } from "../../core/stats/index.ts";

/** A container with CAP_NET_ADMIN can make any number of interfaces. */
const maxInterfaces = 64;

/**
 * The first 64 interfaces of /proc/PID/net/dev except the loopback (proc_pid_net(5)): after the name eight
 * counters of what was received (bytes, packets, errs, drop...) and eight of what was sent.
 */
export function parseNetDev(text: string): readonly InterfaceUsage[] {
  const found: InterfaceUsage[] = [];
  for (const line of text.split("\n")) {
    if (found.length === maxInterfaces) break;
    // A name may itself have a colon, as aliases had; counters never do.
    const [, name, counters] = /^\s*(\S+):\s*([\d\s]+)$/.exec(line) ?? [];
    if (name === undefined || counters === undefined || name === "lo") continue;
    const values = counters.trim().split(/\s+/).map(BigInt);
    if (values.length < 16) continue;
    const at = (index: number): bigint => values[index] ?? 0n;
    found.push({
      name,
      rxBytes: at(0),
      rxPackets: at(1),
      rxErrors: at(2),
      rxDropped: at(3),
      txBytes: at(8),
      txPackets: at(9),
      txErrors: at(10),
      txDropped: at(11),
    });
  }
  return found;
}
