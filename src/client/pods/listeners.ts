import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { canonicalIp, type HostPort } from "./host-port.ts";

/** A socket of this host that accepts connections or datagrams. */
interface Listener extends HostPort {
  /** The inode of the socket; see `ownerOf`. */
  readonly inode: string;
}

/** The process that owns a socket. */
interface Owner {
  readonly pid: number;
  /** The command, as ps shows it. */
  readonly command: string;
  /** The text of its /proc/PID/cgroup, which contains the id of its container. */
  readonly cgroups: string;
}

const tables = [
  ["tcp", "tcp"],
  ["tcp6", "tcp"],
  ["udp", "udp"],
  ["udp6", "udp"],
] as const;

// TCP_LISTEN, and TCP_CLOSE for a UDP socket that is bound but not connected (include/net/tcp_states.h).
const listening = { tcp: "0A", udp: "07" } as const;

/** The listening sockets in the network namespace of this process, without SCTP. */
export function listeners(proc = "/proc"): readonly Listener[] {
  return tables.flatMap(([table, protocol]) => {
    const text = readOr(join(proc, "self/net", table), "");
    return parseSockets(text, protocol);
  });
}

/** Parses /proc/net/tcp, udp, tcp6 and udp6 (proc_net(5)): a heading, then a line for each socket. */
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

/** Parses one or four groups of four bytes, each in the byte order of the host: little endian. */
function parseAddress(hex: string): string {
  const groups = hex.match(/.{8}/g) ?? [];
  const bytes = groups.flatMap((group) => (group.match(/../g) ?? []).toReversed());
  if (bytes.length === 4) return bytes.map((byte) => Number.parseInt(byte, 16)).join(".");
  const words = bytes.flatMap((byte, at) => (at % 2 === 0 ? [byte + (bytes[at + 1] ?? "")] : []));
  return canonicalIp(words.join(":"));
}

/**
 * The process that owns a socket; undefined if none is found, which needs permission to read the descriptors
 * of other processes. Scans all processes, so it is only used for error messages.
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
    return false; // exited, or permission denied
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
