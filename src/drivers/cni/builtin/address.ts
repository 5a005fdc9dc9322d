// Addresses as the plugins read and print them. An address is a number with a family; text is in its canonical form.
import { isIPv4, isIPv6 } from "node:net";
import type { Prefix } from "../../../linux/netlink/index.ts";

/** An IP address. */
export interface Address {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** An address with the length of its network. */
export interface Cidr extends Address {
  readonly length: number;
}

/** The number of bits of an address. */
export function bitsOf(family: Address["family"]): number {
  return family === 4 ? 32 : 128;
}

/**
 * Reads an address; undefined when it is not one, or is one that the plugins turn into another one: mapped IPv4, a zone, or
 * a first byte of 0, which their arithmetic loses.
 */
export function parseAddress(text: unknown): Address | undefined {
  if (typeof text !== "string") return undefined;
  const address = isIPv4(text) ? parseIpv4(text) : parseIpv6(text);
  if (address === undefined) return undefined;
  const isWhole = address.value >> BigInt(bitsOf(address.family) - 8) !== 0n;
  return isWhole ? address : undefined;
}

/** Like {@link parseAddress} with a length, and also with 0.0.0.0/0 and ::/0. */
export function parseCidr(text: unknown): Cidr | undefined {
  if (typeof text !== "string") return undefined;
  if (text === "0.0.0.0/0") return { family: 4, value: 0n, length: 0 };
  if (text === "::/0") return { family: 6, value: 0n, length: 0 };
  const [host, length, ...more] = text.split("/");
  const address = parseAddress(host);
  if (address === undefined || length === undefined || more.length > 0) return undefined;
  if (!/^(0|[1-9]\d{0,2})$/.test(length) || Number(length) > bitsOf(address.family)) {
    return undefined;
  }
  return { ...address, length: Number(length) };
}

function parseIpv4(text: string): Address {
  const value = text.split(".").reduce((all, part) => (all << 8n) | BigInt(part), 0n);
  return { family: 4, value };
}

function parseIpv6(text: string): Address | undefined {
  if (!isIPv6(text) || text.includes("%") || text.includes(".")) return undefined;
  const [head = "", tail] = text.split("::");
  const groups = (half: string): string[] => (half === "" ? [] : half.split(":"));
  const [first, last] = [groups(head), groups(tail ?? "")];
  const zeros = Array.from({ length: 8 - first.length - last.length }, () => "0");
  const all = tail === undefined ? first : [...first, ...zeros, ...last];
  const value = all.reduce((sum, group) => (sum << 16n) | BigInt(`0x${group}`), 0n);
  return { family: 6, value };
}

/** The canonical text of an address (RFC 5952, section 4). */
export function formatAddress({ family, value }: Address): string {
  const size = family === 4 ? 8n : 16n;
  const count = family === 4 ? 4 : 8;
  const mask = (1n << size) - 1n;
  const parts = Array.from(
    { length: count },
    (_, at) => (value >> (BigInt(count - 1 - at) * size)) & mask,
  );
  if (family === 4) return parts.join(".");
  const texts = parts.map((part) => part.toString(16));
  const zeros = longestZeros(texts);
  if (zeros === undefined) return texts.join(":");
  return `${texts.slice(0, zeros.from).join(":")}::${texts.slice(zeros.to).join(":")}`;
}

/** The first of the longest runs of two or more groups of zeros. */
function longestZeros(groups: readonly string[]): { from: number; to: number } | undefined {
  let best: { from: number; to: number } | undefined;
  for (let from = 0; from < groups.length; from++) {
    let to = from;
    while (groups[to] === "0") to++;
    if (to - from >= 2 && to - from > (best === undefined ? 0 : best.to - best.from)) {
      best = { from, to };
    }
  }
  return best;
}

/** Text like "10.0.0.2/24". */
export function formatCidr(cidr: Cidr): string {
  return `${formatAddress(cidr)}/${cidr.length}`;
}

/** The first address of a network. */
export function networkOf(cidr: Cidr): Cidr {
  const hostBits = BigInt(bitsOf(cidr.family) - cidr.length);
  return { ...cidr, value: (cidr.value >> hostBits) << hostBits };
}

/** True when the address is in the network. */
export function contains(network: Cidr, address: Address): boolean {
  if (network.family !== address.family) return false;
  return networkOf({ ...address, length: network.length }).value === networkOf(network).value;
}

/** The next address. */
export function nextAddress(address: Address): Address {
  return { family: address.family, value: address.value + 1n };
}

/** True for the same address of the same family. */
export function isSame(one: Address, other: Address): boolean {
  return one.family === other.family && one.value === other.value;
}

/** The bytes for netlink. */
export function addressBytes({ family, value }: Address): Buffer {
  return Buffer.from(value.toString(16).padStart(bitsOf(family) / 4, "0"), "hex");
}

/** The network prefix for netlink. */
export function prefixOf(cidr: Cidr): Prefix {
  return { bytes: addressBytes(cidr), length: cidr.length };
}

/** An address of the kernel. */
export function fromBytes({ bytes, length }: Prefix): Cidr {
  const value = BigInt(`0x${Buffer.from(bytes).toString("hex")}`);
  return { family: bytes.length === 4 ? 4 : 6, value, length };
}
