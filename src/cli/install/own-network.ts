import { readFileSync } from "node:fs";
import { RuntimeError } from "../../base/errors.ts";
import { chainRemoval } from "../demo/network.ts";
import type { OwnNetwork } from "./removal.ts";
import { hasProgram, mustRun } from "./service.ts";

/** `failed-precondition` if removeNetwork lacks a program. Asked before pods are removed. */
export function requireForRemoval({ bridge }: OwnNetwork): void {
  if (!bridgeExists(bridge) || hasProgram("ip")) return;
  throw new RuntimeError(
    "failed-precondition",
    `remove bridge "${bridge}": there is no program "ip": install iproute2 and try again; nothing was changed`,
  );
}

/**
 * Removes the bridge of a network, and the chains for host ports that were not there `before` davit was installed.
 * Chains that still forward to a pod of another runtime stay.
 *
 * `failed-precondition` if the bridge has ports: those of pods that davit does not know.
 */
export async function removeNetwork(
  { bridge }: OwnNetwork,
  before: readonly string[],
): Promise<void> {
  if (bridgeExists(bridge)) {
    const ports = (await mustRun("ip", ["-o", "link", "show", "master", bridge])).trim();
    if (ports !== "") {
      throw new RuntimeError(
        "failed-precondition",
        `remove bridge "${bridge}": it has ports, of pods of another runtime or of another davit; remove those first`,
      );
    }
    await mustRun("ip", ["link", "delete", bridge]);
  }
  for (const iptables of ["iptables", "ip6tables"]) await removeChains(iptables, before);
}

/** Not from /sys, which shows the network namespace in which it was mounted. */
function bridgeExists(bridge: string): boolean {
  const devices = readFileSync("/proc/net/dev", "utf8").split("\n");
  return devices.some((line) => line.trimStart().startsWith(`${bridge}:`));
}

async function removeChains(iptables: string, before: readonly string[]): Promise<void> {
  let rules: string;
  try {
    rules = await mustRun(iptables, ["-w", "-t", "nat", "-S"]);
  } catch {
    // A machine without the program or without the table has no chains.
    return;
  }
  for (const args of chainRemoval(rules, before)) {
    await mustRun(iptables, ["-w", "-t", "nat", ...args]);
  }
}
