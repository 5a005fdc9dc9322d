import { isIPv6, SocketAddress } from "node:net";

/** A port of the host, on one of its addresses or on all. */
export interface HostPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly port: number;
  /** "", 0.0.0.0 and :: are every address. */
  readonly ip: string;
}

/** Whether only one of the two can be had: the same port, and an address that both want. */
export function collide(one: HostPort, other: HostPort): boolean {
  if (one.protocol !== other.protocol || one.port !== other.port) return false;
  const [a, b] = [canonicalIp(one.ip), canonicalIp(other.ip)];
  return isEvery(a) || isEvery(b) || a === b;
}

/** One spelling for one address; IPv4 in IPv6 is IPv4. */
export function canonicalIp(ip: string): string {
  if (!isIPv6(ip)) return ip;
  const { address } = new SocketAddress({ address: ip, family: "ipv6" });
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}

/** As a person reads it: 8080/tcp, 127.0.0.1:8080/tcp. */
export function formatHostPort({ ip, port, protocol }: HostPort): string {
  const host = isIPv6(ip) ? `[${ip}]` : ip;
  return `${isEvery(canonicalIp(ip)) ? "" : `${host}:`}${port}/${protocol}`;
}

function isEvery(ip: string): boolean {
  return ip === "" || ip === "0.0.0.0" || ip === "::";
}
