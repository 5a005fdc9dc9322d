import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { canonicalIp, type HostPort } from "./host-port.ts";

/** A socket of this host's network that takes connections or datagrams. */
export interface Listener extends HostPort {
  /** What its process holds; see `ownerOf`. */
  readonly inode: string;
}

/** The process that has a socket. */
export interface Owner {
  readonly pid: number;
  /** As ps shows it. */
  readonly command: string;
  /** The text of its /proc/PID/cgroup, which names its container. */
  readonly cgroups: string;
}

const tables = [
  ["tcp", "tcp"],
  ["tcp6", "tcp"],
  ["udp", "udp"],
  ["udp6", "udp"],
] as const;

// TCP_LISTEN, and TCP_CLOSE, which is a UDP socket that is bound and not connected: include/net/tcp_states.h.
const listening = { tcp: "0A", udp: "07" } as const;

/** The listening sockets of this process's network namespace; of SCTP none are known. */
export function listeners(proc = "/proc"): readonly Listener[] {
  return tables.flatMap(([table, protocol]) => {
    const text = readOr(join(proc, "self/net", table), "");
    return parseSockets(text, protocol);
  });
}

/** Reads /proc/net/tcp and its like (proc_net(5)): a heading, then a line for each socket. */
export function parseSockets(text: string, protocol: "tcp" | "udp"): readonly Listener[] {
  return text
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const [, local = "", , state, , , , , , inode = ""] = line.trim().split(/\s+/);
      const [address = "", port = ""] = local.split(":");
      if (state !== listening[protocol] || port === "") return [];
      return [{ protocol, ip: parseAddress(address), port: Number.parseInt(port, 16), inode }];
    });
}

/** Four bytes, or four times four, each group as the processor has it: the lowest byte first. */
function parseAddress(hex: string): string {
  const groups = hex.match(/.{8}/g) ?? [];
  const bytes = groups.flatMap((group) => (group.match(/../g) ?? []).toReversed());
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join(".");
  const words = bytes.flatMap((byte, at) => (at % 2 === 0 ? [byte + (bytes[at + 1] ?? "")] : []));
  return canonicalIp(words.join(":"));
}

/**
 * The process that holds a socket; undefined where none can be seen: it needs the right to read other
 * processes' descriptors. Looks at every process, so only for what must be named.
 */
export function ownerOf(inode: string, proc = "/proc"): Owner | undefined {
  const link = `socket:[${inode}]`;
  for (const name of readdirSync(proc)) {
    if (!/^\d+$/.test(name) || !holds(join(proc, name, "fd"), link)) continue;
    return {
      pid: Number(name),
      command: readOr(join(proc, name, "comm"), "").trimEnd(),
      cgroups: readOr(join(proc, name, "cgroup"), ""),
    };
  }
  return undefined;
}

function holds(directory: string, link: string): boolean {
  try {
    return readdirSync(directory).some((fd) => linkOr(join(directory, fd)) === link);
  } catch {
    return false; // gone, or not ours to look at
  }
}

function linkOr(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // closed since it was listed
  }
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return otherwise;
  }
}
