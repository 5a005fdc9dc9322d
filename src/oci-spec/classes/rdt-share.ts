import { quoted } from "../refuse.ts";
import type { CacheRequest, CacheShare } from "./rdt-config.ts";
import { refuseFile } from "./table.ts";

/** Which bits of a cache's mask are meant: those of a percentage range, or a mask from the partition's first bit. */
export type Portion =
  | {
      readonly kind: "percent";
      readonly low: number;
      readonly high: number;
      readonly isRange: boolean;
    }
  | { readonly kind: "mask"; readonly mask: bigint };

/** Whose portion: of the whole cache, or of code or data where the kernel separates these (CDP). */
export type PortionType = "unified" | "code" | "data";

/** A cache resource of this machine (info/ of resctrl). */
export interface CacheInfo {
  /** All bits, which are one block from the lowest. */
  readonly mask: bigint;
  /** The fewest bits of a class. */
  readonly minBits: number;
  /** Whether code and data have portions of their own. */
  readonly isCdp: boolean;
  /** Numbers of the caches, ascending. */
  readonly ids: readonly number[];
}

/** The portion that a share gives, where `unified` is that of code and data as well; undefined for no share. */
export function portionOf(
  share: CacheShare | undefined,
  type: PortionType,
  { minBits }: CacheInfo,
): Portion | undefined {
  const text = share?.[type] ?? share?.unified;
  return text === undefined ? undefined : parsePortion(text, minBits);
}

/** `60%`, `20-60%`, `0xff0` or bit numbers such as `0-3`; `invalid-argument` for anything else. */
function parsePortion(text: string, minBits: number): Portion {
  const percent = /^(\d{1,3})(?:-(\d{1,3}))?%$/.exec(text);
  if (percent !== null) {
    const [, first = "", second] = percent;
    const low = second === undefined ? 1 : Math.max(1, Number(first));
    const high = Number(second ?? first);
    if (high < low || high > 100) refuseFile(`${quoted(text)} must be from 1% to 100%`);
    return { kind: "percent", low, high, isRange: second !== undefined };
  }
  const mask = /^0x[0-9a-fA-F]{1,16}$/.test(text) ? BigInt(text) : bitsOf(text);
  if (mask === undefined || mask === 0n || !isOneBlock(mask)) {
    refuseFile(
      `${quoted(text)} must be a percentage, a mask such as 0xf0 or bits such as 0-3, in one block`,
    );
  }
  if (countBits(mask) < minBits) {
    refuseFile(`${quoted(text)} has fewer bits than this machine allows, which is ${minBits}`);
  }
  return { kind: "mask", mask };
}

/** The numbers of a list such as `0,2-5`; undefined if it is not one. */
function numbersOf(list: string, most: number): readonly number[] | undefined {
  const numbers: number[] = [];
  for (const part of list.split(",")) {
    const [, first, last] = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(part) ?? [];
    const [from, to] = [Number(first), Number(last ?? first)];
    if (first === undefined || to < from || to > most) return undefined;
    for (let number = from; number <= to; number++) numbers.push(number);
  }
  return numbers;
}

function bitsOf(list: string): bigint | undefined {
  return numbersOf(list, 63)?.reduce((mask, bit) => mask | (1n << BigInt(bit)), 0n);
}

/** The share of each cache, by its ID: "all" for those that no other key names. */
export function sharesById(
  request: CacheRequest,
  ids: readonly number[],
): ReadonlyMap<number, CacheShare> {
  return byId(request, ids, { unified: "100%" });
}

/** The values of a request by ID; `rest` for IDs that neither a list nor "all" names. */
export function byId<Value>(
  request: ReadonlyMap<string, Value>,
  ids: readonly number[],
  rest: Value,
): ReadonlyMap<number, Value> {
  const found = new Map(ids.map((id) => [id, request.get("all") ?? rest]));
  for (const [list, value] of request) {
    if (list === "all") continue;
    const numbers = numbersOf(list, 127);
    if (numbers === undefined)
      refuseFile(`${quoted(list)} must be "all" or cache IDs such as 0,2-3`);
    for (const id of numbers) if (found.has(id)) found.set(id, value);
  }
  return found;
}

/** The bits of a portion within those of a base, which are one block. */
export function maskWithin(portion: Portion, base: bigint, minBits: number): bigint {
  const lowest = lowestBit(base);
  if (portion.kind === "mask") {
    const mask = portion.mask << BigInt(lowest);
    if ((mask | base) === base) return mask;
    return refuseFile(`mask ${hex(portion.mask)} does not fit into its partition's ${hex(base)}`);
  }
  const width = countBits(base);
  if (width < minBits) refuseFile(`its partition has ${width} bits, fewer than ${minBits}`);
  let first = Math.floor(((portion.low - 1) * width) / 100);
  let last = Math.floor(((portion.high - 1) * width) / 100);
  // The kernel refuses fewer bits: the block grows downwards, then upwards.
  first = Math.max(0, Math.min(first, last + 1 - minBits));
  last = Math.max(last, first + minBits - 1);
  return block(last - first + 1) << BigInt(first + lowest);
}

/** A mask of so many bits from the lowest. */
export function block(bits: number): bigint {
  return (1n << BigInt(bits)) - 1n;
}

export function countBits(mask: bigint): number {
  return mask.toString(2).replaceAll("0", "").length;
}

export function hex(mask: bigint): string {
  return `0x${mask.toString(16)}`;
}

function lowestBit(mask: bigint): number {
  return mask.toString(2).length - mask.toString(2).lastIndexOf("1") - 1;
}

function isOneBlock(mask: bigint): boolean {
  return /^1+0*$/.test(mask.toString(2));
}
