// The ranges of host-local, by the rules of its plugin (version 1.1.1).
import { quoteValue } from "../../../../base/quote.ts";
import { isObject } from "../../conflist.ts";
import {
  type Address,
  bitsOf,
  type Cidr,
  contains,
  formatAddress,
  formatCidr,
  isSame,
  networkOf,
  nextAddress,
  parseAddress,
  parseCidr,
} from "../address.ts";
import { obstacleIn } from "../known-keys.ts";

/** Addresses of one subnet, from the first to the last. */
export interface Range {
  readonly subnet: Cidr;
  readonly start: Address;
  readonly end: Address;
  readonly gateway: Address;
}

/** Ranges of one family; a pod gets one address of each set. */
export type RangeSet = readonly Range[];

const any = (): undefined => undefined;

/** The keys of a range. */
export const rangeKeys = { subnet: any, rangeStart: any, rangeEnd: any, gateway: any } as const;

/** Reads range sets. Throws with the reason when the plugin would not take them, or when they are not known here. */
export function parseRangeSets(value: unknown): readonly RangeSet[] {
  if (!Array.isArray(value)) throw new Error(`ranges must be a list, got ${quoteValue(value)}`);
  return value.map((set: unknown, at) => {
    try {
      return parseRangeSet(set);
    } catch (error) {
      throw new Error(`invalid range set ${at}: ${(error as Error).message}`, { cause: error });
    }
  });
}

function parseRangeSet(value: unknown): RangeSet {
  if (!Array.isArray(value)) throw new Error(`it must be a list, got ${quoteValue(value)}`);
  const ranges = value.map(parseRange);
  const [first] = ranges;
  if (first === undefined) throw new Error("empty range set");
  if (ranges.some(({ subnet }) => subnet.family !== first.subnet.family)) {
    throw new Error("mixed address families");
  }
  for (const [at, range] of ranges.entries()) {
    const other = ranges.slice(at + 1).find((each) => overlap(range, each));
    if (other !== undefined) {
      throw new Error(`subnets ${formatRange(range)} and ${formatRange(other)} overlap`);
    }
  }
  return ranges;
}

/** Reads one range. Throws with the reason. */
export function parseRange(value: unknown): Range {
  if (!isObject(value)) throw new Error(`a range must be an object, got ${quoteValue(value)}`);
  const unknown = obstacleIn(value, rangeKeys);
  if (unknown !== undefined) throw new Error(unknown);
  const subnet = parseCidr(value["subnet"]);
  if (subnet === undefined || subnet.length === 0) {
    throw new Error(
      `"subnet" must be a network like "10.0.0.0/24", got ${quoteValue(value["subnet"])}`,
    );
  }
  if (subnet.length > bitsOf(subnet.family) - 2) {
    throw new Error(`Network ${formatCidr(subnet)} too small to allocate from`);
  }
  if (!isSame(networkOf(subnet), subnet)) {
    throw new Error(
      `Network has host bits set. For a subnet mask of length ${subnet.length} the network address is ${formatAddress(networkOf(subnet))}`,
    );
  }
  const optional = (key: string): Address | undefined => {
    if (value[key] === undefined) return undefined;
    const address = parseAddress(value[key]);
    if (address?.family === subnet.family) return address;
    throw new Error(
      `"${key}" must be an address of the subnet's family, got ${quoteValue(value[key])}`,
    );
  };
  return {
    subnet,
    ...endsOf(subnet, optional("rangeStart"), optional("rangeEnd")),
    gateway: optional("gateway") ?? nextAddress(subnet),
  };
}

/** The first and the last address, which are in the subnet and in this order. */
function endsOf(
  subnet: Cidr,
  start: Address | undefined,
  end: Address | undefined,
): Pick<Range, "start" | "end"> {
  const first = start ?? nextAddress(subnet);
  const isBefore = end !== undefined && end.value < first.value;
  if (start !== undefined && (!contains(subnet, start) || isBefore)) {
    throw new Error(`RangeStart ${formatAddress(start)} not in network ${formatCidr(subnet)}`);
  }
  if (end !== undefined && (!contains(subnet, end) || isBefore)) {
    throw new Error(`RangeEnd ${formatAddress(end)} not in network ${formatCidr(subnet)}`);
  }
  return { start: first, end: end ?? lastOf(subnet) };
}

/** The last address of a subnet, without the broadcast address of IPv4. */
function lastOf(subnet: Cidr): Address {
  const size = 1n << BigInt(bitsOf(subnet.family) - subnet.length);
  return { family: subnet.family, value: subnet.value + size - (subnet.family === 4 ? 2n : 1n) };
}

/** True when the address is one of the range's. */
export function isInRange({ start, end }: Range, address: Address): boolean {
  return (
    address.family === start.family && address.value >= start.value && address.value <= end.value
  );
}

function overlap(one: Range, other: Range): boolean {
  return (
    isInRange(one, other.start) ||
    isInRange(one, other.end) ||
    isInRange(other, one.start) ||
    isInRange(other, one.end)
  );
}

/** Throws with the reason when an address is in two of the sets. */
export function checkOverlaps(sets: readonly RangeSet[]): void {
  for (const [at, set] of sets.entries()) {
    for (const [offset, other] of sets.slice(at + 1).entries()) {
      if (!set.some((range) => other.some((each) => overlap(range, each)))) continue;
      // The number that the plugin names counts from `at`.
      throw new Error(`range set ${at} overlaps with ${at + offset + 1}`);
    }
  }
}

/** Text like "10.0.0.2-10.0.0.254". */
export function formatRange({ start, end }: Range): string {
  return `${formatAddress(start)}-${formatAddress(end)}`;
}

/**
 * The addresses of a set in the order in which they are tried: those after `last`, around the set, without gateways. The
 * plugin stops at the first address that it tried, and never tries `last` itself unless all others are taken.
 */
export function* candidates(
  set: RangeSet,
  last: Address | undefined,
): Generator<{ readonly address: Address; readonly range: Range }> {
  const found = last === undefined ? -1 : set.findIndex((range) => isInRange(range, last));
  let at = Math.max(found, 0);
  let range = set[at];
  if (range === undefined) return;
  let address = found < 0 || last === undefined ? undefined : last;
  let first: Address | undefined;
  for (;;) {
    if (address === undefined) address = range.start;
    else if (isSame(address, range.end)) {
      at = (at + 1) % set.length;
      range = set[at] ?? range;
      address = range.start;
    } else address = nextAddress(address);
    if (first === undefined) first = address;
    else if (isSame(address, first)) return;
    if (!isSame(address, range.gateway)) yield { address, range };
  }
}
