import { readFile, writeFile } from "node:fs/promises";

const files = {
  4: "/proc/sys/net/ipv4/ip_forward",
  6: "/proc/sys/net/ipv6/conf/all/forwarding",
} as const;

/** Makes the node forward packets of a family. Does not write what it is already: /proc/sys may be read-only. */
export async function enableForwarding(family: 4 | 6): Promise<void> {
  const file = files[family];
  const now = await readFile(file, "latin1").catch(() => "");
  if (now.trim() !== "1") await writeFile(file, "1");
}
