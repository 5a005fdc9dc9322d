import { BlockList, isIP, isIPv6, type Socket } from "node:net";

/** The variables that name a proxy: `HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`, or in lower case. */
export type ProxyEnv = Readonly<Record<string, string | undefined>>;

/**
 * True where a connection for a URL ends at the loopback or at a link-local address (RFC 6890), which have
 * services for this node alone, such as those that issue identities to cloud machines
 * (169.254.169.254). Through a proxy, the host of the URL counts, not the proxy's address.
 */
export function isLocalConnection(
  url: URL,
  { remoteAddress = "", remotePort }: Socket,
  proxyEnv: ProxyEnv,
): boolean {
  if (!isProxyPort(url, remotePort, proxyEnv)) return isLocalAddress(remoteAddress);
  const host = url.hostname.replace(/^\[(.*)\]$/, "$1");
  return host === "localhost" || isLocalAddress(host);
}

/** A port that the URL does not name, and a proxy of the environment does. */
function isProxyPort(url: URL, port: number | undefined, proxyEnv: ProxyEnv): boolean {
  const name = `${url.protocol.slice(0, -1)}_proxy`;
  const text = proxyEnv[name] ?? proxyEnv[name.toUpperCase()] ?? "";
  const proxy = URL.parse(text);
  return proxy !== null && portOf(proxy) === port && portOf(url) !== port;
}

const localAddresses = new BlockList();
localAddresses.addSubnet("0.0.0.0", 8, "ipv4");
localAddresses.addSubnet("127.0.0.0", 8, "ipv4");
localAddresses.addSubnet("169.254.0.0", 16, "ipv4");
localAddresses.addSubnet("::", 127, "ipv6");
localAddresses.addSubnet("fe80::", 10, "ipv6");

function isLocalAddress(text: string): boolean {
  const [address = ""] = text.replace(/^::ffff:(?=\d+\.)/, "").split("%");
  return isIP(address) !== 0 && localAddresses.check(address, isIPv6(address) ? "ipv6" : "ipv4");
}

function portOf({ port, protocol }: URL): number {
  return port === "" ? (protocol === "https:" ? 443 : 80) : Number(port);
}
