import { ipVersion } from "../base/ip-address.ts";

/** Where a server listens: a TCP address, or the path of a unix socket. */
export type ListenAddress =
  | { readonly host: string; readonly port: number }
  | { readonly path: string };

/**
 * Parses `HOST:PORT`, with an IP address (IPv6 in brackets) or `localhost`, and `/PATH` or `unix:///PATH` of a
 * socket. Undefined for anything else. The path is not checked.
 */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const path = text.startsWith("unix://") ? text.slice("unix://".length) : text;
  if (path.startsWith("/")) return { path };
  const [, inner, plain, digits = ""] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(text) ?? [];
  const host = inner ?? plain ?? "";
  const isHost =
    inner === undefined ? host === "localhost" || ipVersion(host) === 4 : ipVersion(host) === 6;
  const port = Number(digits);
  return isHost && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}
