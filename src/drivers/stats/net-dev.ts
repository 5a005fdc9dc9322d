import type { InterfaceUsage } from "../../core/stats/index.ts";

/**
 * The interfaces of /proc/PID/net/dev except the loopback (proc_pid_net(5)): after the name eight
 * counters of what was received (bytes, packets, errs...) and eight of what was sent.
 */
export function parseNetDev(text: string): readonly InterfaceUsage[] {
  const found: InterfaceUsage[] = [];
  for (const line of text.split("\n")) {
    // A name may itself have a colon, as aliases had; counters never do.
    const [, name, counters] = /^\s*(\S+):\s*([\d\s]+)$/.exec(line) ?? [];
    if (name === undefined || counters === undefined || name === "lo") continue;
    const values = counters.trim().split(/\s+/).map(BigInt);
    const [rxBytes, , rxErrors, , , , , , txBytes, , txErrors] = values;
    if (rxBytes === undefined || rxErrors === undefined) continue;
    if (txBytes === undefined || txErrors === undefined) continue;
    found.push({ name, rxBytes, rxErrors, txBytes, txErrors });
  }
  return found;
}
