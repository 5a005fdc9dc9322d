import type { InterfaceUsage } from "../../core/stats/index.ts";
import { decimal } from "./kernel-text.ts";

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
    const colon = line.lastIndexOf(":");
    const name = line.slice(0, Math.max(0, colon)).trim();
    if (name === "" || name === "lo" || /\s/.test(name)) continue;
    const usage = countersOf(name, line, colon + 1);
    if (usage !== undefined) found.push(usage);
  }
  return found;
}

/** Undefined for a line without 16 numbers. */
function countersOf(name: string, line: string, from: number): InterfaceUsage | undefined {
  const values: bigint[] = [];
  for (let at = from; at < line.length && values.length < 16; ) {
    while (line.charCodeAt(at) === space) at++;
    const next = line.indexOf(" ", at);
    const end = next < 0 ? line.length : next;
    const value = decimal(line, at, end);
    if (value === undefined) return undefined;
    values.push(value);
    at = end;
  }
  if (values.length < 16) return undefined;
  const at = (index: number): bigint => values[index] ?? 0n;
  return {
    name,
    rxBytes: at(0),
    rxPackets: at(1),
    rxErrors: at(2),
    rxDropped: at(3),
    txBytes: at(8),
    txPackets: at(9),
    txErrors: at(10),
    txDropped: at(11),
  };
}

const space = 32;
