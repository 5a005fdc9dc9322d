// Networks for the differential test: random, and the same for the same seed.
import { parseNetworkList, type NetworkList } from "../../conflist.ts";

/** A random network, with what its two pods are given. */
export interface RandomNetwork {
  readonly list: NetworkList;
  readonly capabilityArgs: Readonly<Record<string, unknown>>;
  /** What has the bridge's name before the first pod. */
  readonly before: "nothing" | "bridge" | "bridge with another address" | "no bridge";
  /** The second pod's namespace is gone when it is removed. */
  readonly losesNamespace: boolean;
  /** Addresses are checked for duplicates, which takes seconds. */
  readonly isSlow: boolean;
}

/** Where the networks reserve addresses and note attributes. */
export interface RandomDirectories {
  readonly ipam: string;
  readonly tuning: string;
}

/** The bridge of all networks that have one. */
export const randomBridge = "dvt1";

/** A generator of numbers from 0 to 1, excluding 1 (Mulberry32). */
export function randomNumbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The network with this number. Its networks are the same in each call. */
export function randomNetwork(number: number, directories: RandomDirectories): RandomNetwork {
  const next = randomNumbers(number * 7_919 + 1);
  const chance = (probability: number): boolean => next() < probability;
  const pick = <T>(values: readonly T[]): T => values[Math.floor(next() * values.length)] as T;
  const maybe = (probability: number, value: object): object => (chance(probability) ? value : {});
  const families = pick([[4], [4], [4], [6], [4, 6], [6, 4]] as const);
  const range = (family: 4 | 6, at: number): object => {
    const base = family === 4 ? `10.${90 + at}.7.` : `fd00:${90 + at}::`;
    const length = family === 4 ? pick([24, 28, 30]) : pick([64, 120]);
    return {
      subnet: `${base}0/${length}`,
      ...maybe(0.2, { gateway: `${base}2` }),
      ...(length < 30 || family === 6 ? maybe(0.3, { rangeStart: `${base}3` }) : {}),
      ...(length < 30 || family === 6 ? maybe(0.2, { rangeEnd: `${base}4` }) : {}),
    };
  };
  const sets = families.map((family, at) => [
    range(family, at),
    ...(chance(0.15) ? [range(family, at + 10)] : []),
  ]);
  const byArgument = chance(0.1);
  const anywhere = (family: 4 | 6): string => (family === 4 ? "0.0.0.0/0" : "::/0");
  const route = (family: 4 | 6): object[] => [
    ...(chance(0.6) ? [{ dst: anywhere(family) }] : []),
    ...(chance(0.2) ? [{ dst: family === 4 ? "172.20.0.0/16" : "fd77::/32" }] : []),
  ];
  const ipam = {
    type: "host-local",
    dataDir: directories.ipam,
    ...(byArgument ? {} : sets.length === 1 && chance(0.2) ? sets[0]?.[0] : { ranges: sets }),
    ...maybe(0.7, { routes: families.flatMap((family) => route(family)) }),
  };
  const isSlow = number % 60 === 59;
  const main = chance(0.65)
    ? {
        type: "bridge",
        bridge: randomBridge,
        ...maybe(0.6, { isGateway: true }),
        ...maybe(0.3, { isDefaultGateway: true }),
        ...maybe(0.3, { forceAddress: true }),
        ...pick([{}, { hairpinMode: true }, { hairpinMode: true }, { promiscMode: true }]),
        ...(isSlow ? { enabledad: true } : {}),
      }
    : { type: "ptp" };
  const tuning = {
    type: "tuning",
    dataDir: directories.tuning,
    ...maybe(0.5, {
      sysctl: { "net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_filter": "1" },
    }),
    ...maybe(0.4, { mac: "0a:58:00:00:00:07" }),
    ...maybe(0.4, { mtu: 1380 }),
    ...maybe(0.3, { promisc: true }),
    ...maybe(0.3, { allmulti: chance(0.7) }),
  };
  const plugins = [
    {
      ...main,
      ipam,
      ...maybe(0.3, { mtu: pick([1400, 9000, 0]) }),
      ...maybe(0.2, { dns: { nameservers: ["10.0.0.10"], search: ["a", "b"] } }),
      ...(byArgument ? { capabilities: { ipRanges: true } } : {}),
    },
    ...(chance(0.3) ? [tuning] : []),
    ...(chance(0.1) ? [{ type: "loopback" }] : []),
  ];
  const cniVersion = pick(["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.0.0"]);
  return {
    list: parseNetworkList(JSON.stringify({ cniVersion, name: "random", plugins })),
    capabilityArgs: byArgument ? { ipRanges: sets } : {},
    before: pick([
      "nothing",
      "nothing",
      "nothing",
      "bridge",
      "bridge with another address",
      "no bridge",
    ]),
    losesNamespace: chance(0.2),
    isSlow,
  };
}
