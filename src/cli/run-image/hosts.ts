import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { HostAlias } from "../../manifest/index.ts";
import type { Options } from "../command-line/options.ts";

/**
 * The hostAliases of --add-host, as docker reads it: HOST:IP or HOST=IP, an IPv6 address perhaps in brackets. For
 * host-gateway it is `gateway()`. Throws a UsageError for one that is invalid.
 */
export function readHosts(
  options: Options,
  gateway: () => string | undefined = hostAddress,
): readonly HostAlias[] {
  return options.texts("add-host").map((text) => {
    const at = text.search(/[:=]/);
    const host = text.slice(0, Math.max(at, 0)).toLowerCase();
    const address = text.slice(at + 1).replace(/^\[(.*)\]$/, "$1");
    if (host === "") {
      throw options.invalid("add-host", `is "${text}": must be HOST:IP, such as db:10.0.0.5`);
    }
    const ip = address === "host-gateway" ? gateway() : address;
    if (ip === undefined) {
      throw options.invalid(
        "add-host",
        `is "${text}": this machine has no address besides its loopback; write the IP`,
      );
    }
    if (isIP(ip) === 0) {
      throw options.invalid("add-host", `is "${text}": "${address}" is not an IP address`);
    }
    return { ip, hostnames: [host] };
  });
}

/**
 * The address of this machine that pods reach it by: that of the interface with the default route, else the first one
 * besides loopback. The gateway of a pod, which docker uses, is known only when the pod runs.
 */
export function hostAddress(proc = "/proc"): string | undefined {
  const all = networkInterfaces();
  const first = defaultInterface(proc);
  const sorted = Object.entries(all).toSorted(([a], [b]) => rank(a, first) - rank(b, first));
  const addresses = sorted.flatMap(([, list = []]) => list).filter(({ internal }) => !internal);
  const usable = addresses.filter(({ address }) => !address.startsWith("fe80:"));
  return (usable.find(({ family }) => family === "IPv4") ?? usable[0])?.address;
}

function rank(name: string, first: string | undefined): number {
  return name === first ? 0 : 1;
}

/** The interface of the IPv4 default route by /proc/net/route (proc_pid_net(5)). */
function defaultInterface(proc: string): string | undefined {
  try {
    const lines = readFileSync(`${proc}/net/route`, "utf8").split("\n").slice(1);
    return lines.map((line) => line.split("\t")).find(([, to]) => to === "00000000")?.[0];
  } catch {
    return undefined;
  }
}
