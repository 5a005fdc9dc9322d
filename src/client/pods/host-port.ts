import { isIPv6, SocketAddress } from "node:net";

/** A port of the host, on one address or on all. */
export interface HostPort {
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly port: number;
  /** "", 0.0.0.0 and :: mean all addresses. */
  readonly ip: string;
}

/** Whether two ports conflict: the same port number, and an address in common. */
export function conflicts(one: HostPort, other: HostPort): boolean {
  if (one.protocol !== other.protocol || one.port !== other.port) return false;
  const [a, b] = [canonicalIp(one.ip), canonicalIp(other.ip)];
  return isUnspecified(a) || isUnspecified(b) || a === b;
}

/** The canonical form of an address; an IPv4-mapped IPv6 address becomes IPv4. */
export function canonicalIp(ip: string): string {
  if (!isIPv6(ip)) return ip;
  const { address } = new SocketAddress({ address: ip, family: "ipv6" });
  return address.replace(/^::ffff:(?=\d+\.)/, "");
}

/** The port as text: 8080/tcp, 127.0.0.1:8080/tcp. */
export function formatHostPort({ ip, port, protocol }: HostPort): string {
  const host = isIPv6(ip) ? `[${ip}]` : ip;
  return `${isUnspecified(canonicalIp(ip)) ? "" : `${host}:`}${port}/${protocol}`;
}

function isUnspecified(ip: string): boolean {
  return ip === "" || ip === "0.0.0.0" || ip === "::";
}
