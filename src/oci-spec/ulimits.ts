import type { Ulimit } from "../gen/runtime/v1/api_pb.ts";
import type { OciRlimit } from "../core/oci/index.ts";
import type { SpecHost } from "./input.ts";
import { quoted, refuse, refuseHere } from "./refuse.ts";

/** The limits of KEP-5758, and their names in proc_pid_limits(5). */
const known: Readonly<Record<string, { readonly type: string; readonly label: string }>> = {
  nofile: { type: "RLIMIT_NOFILE", label: "Max open files" },
  memlock: { type: "RLIMIT_MEMLOCK", label: "Max locked memory" },
  core: { type: "RLIMIT_CORE", label: "Max core file size" },
  nice: { type: "RLIMIT_NICE", label: "Max nice priority" },
  rtprio: { type: "RLIMIT_RTPRIO", label: "Max realtime priority" },
  stack: { type: "RLIMIT_STACK", label: "Max stack size" },
};

/** RLIM_INFINITY of getrlimit(2). */
const infinity = 2n ** 64n - 1n;

/** Refuses limits that cannot be meant: an unknown or repeated name, a soft limit above the hard one. */
export function checkUlimits(ulimits: readonly Ulimit[]): void {
  const seen = new Set<string>();
  for (const { name, hard, soft } of ulimits) {
    if (!Object.hasOwn(known, name)) {
      const names = Object.keys(known).join(", ");
      refuse(`ulimits: ${quoted(name)} is unknown; the names are ${names}`);
    }
    if (seen.has(name)) refuse(`ulimits: ${quoted(name)} is set twice`);
    seen.add(name);
    if (hard < -1n || soft < -1n) {
      refuse(`ulimits: ${name} must be -1 for no limit, or 0 and more, got ${soft}:${hard}`);
    }
    if (valueOf(soft) > valueOf(hard)) {
      refuse(`ulimits: the soft limit of ${name}, ${soft}, is above the hard one, ${hard}`);
    }
  }
}

/**
 * The limits of a request for an OCI runtime. Open files without a limit get the kernel's own (fs.nr_open), since the
 * kernel rejects more. `failed-precondition` for limits that the kernel would reject on this node.
 */
export function requestedRlimits(
  ulimits: readonly Ulimit[],
  host: Pick<SpecHost, "maxOpenFiles" | "hardLimits">,
): readonly OciRlimit[] {
  return ulimits.map(({ name, hard, soft }) => {
    const type = known[name]?.type ?? "";
    const most = type === "RLIMIT_NOFILE" ? host.maxOpenFiles : undefined;
    const limit = { type, hard: cappedInfinity(hard, most), soft: cappedInfinity(soft, most) };
    if (most !== undefined && limit.hard > most) {
      refuseHere(`ulimits: nofile is ${hard}, but the kernel allows ${most}; raise fs.nr_open`);
    }
    const own = host.hardLimits?.[type];
    if (own !== undefined && limit.hard > own) {
      refuseHere(
        `ulimits: ${name} is ${hard}, but davit has no CAP_SYS_RESOURCE and its own hard limit is ${shown(own)}; raise that of its service`,
      );
    }
    return limit;
  });
}

/** The hard limits in /proc/PID/limits that a request can have, by their `RLIMIT_` names. */
export function parseHardLimits(text: string): Readonly<Record<string, bigint>> {
  const limits: Record<string, bigint> = {};
  for (const { type, label } of Object.values(known)) {
    const line = text.split("\n").find((each) => each.startsWith(`${label} `));
    const hard = /^\s*\S+\s+(\d+|unlimited)/.exec(line?.slice(label.length) ?? "")?.[1];
    if (hard !== undefined) limits[type] = hard === "unlimited" ? infinity : BigInt(hard);
  }
  return limits;
}

function valueOf(limit: bigint): bigint {
  return limit === -1n ? infinity : limit;
}

function cappedInfinity(limit: bigint, most: bigint | undefined): bigint {
  return limit === -1n && most !== undefined ? most : valueOf(limit);
}

function shown(limit: bigint): string {
  return limit === infinity ? "unlimited" : String(limit);
}
