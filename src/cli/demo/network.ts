/** The bridge of the demo. At most 15 characters (IFNAMSIZ). */
export const DEMO_BRIDGE = "davit-demo0";

// The top-level chains of the portmap plugin, which the plugin never removes.
const PORTMAP_CHAIN = /^CNI-HOSTPORT-/;

/** One route of the host's main table: network and mask as 32-bit numbers. */
interface Route {
  readonly device: string;
  readonly network: number;
  readonly mask: number;
}

/** A subnet for the demo's pods. */
export interface ChosenSubnet {
  readonly subnet: string;
  /** The route of the host that the subnet partly hides; undefined if it overlaps none. */
  readonly hides: string | undefined;
}

/**
 * Address ranges for the demo, the preferred first: the private ranges of RFC 1918, the shared
 * range of RFC 6598 and the benchmark range of RFC 2544. Each starts away from the subnets that
 * Docker, podman, libvirt and home routers choose.
 */
const ranges: readonly (readonly [first: string, count: number])[] = [
  ["10.88.77.0", 50],
  ["10.87.0.0", 256],
  ["172.28.0.0", 1024],
  ["192.168.64.0", 128],
  ["100.72.0.0", 256],
  ["198.18.0.0", 512],
];

/** A route at least this wide may be partly hidden: that of a VPN, never that of a local network. */
const widePrefix = 12;

/** Some VPNs replace the default route with two routes of /1, which count as default routes. */
const defaultPrefix = 1;

/**
 * Chooses a /24 that overlaps no route of the host. Where every candidate overlaps one, a /24 inside
 * a route of /12 or wider serves: the kernel prefers the longer prefix, and only the demo's 254
 * addresses of the route are hidden. `routes` is the text of /proc/net/route; routes of the bridge
 * itself and default routes do not count. `first` is tried before all others. Returns undefined where
 * narrower routes cover all candidates.
 */
export function chooseSubnet(
  routes: string,
  { bridge = DEMO_BRIDGE, first }: { readonly bridge?: string; readonly first?: string } = {},
): ChosenSubnet | undefined {
  const taken = parseRoutes(routes).filter(
    ({ device, mask }) => prefixOf(mask) > defaultPrefix && device !== bridge,
  );
  let fallback: ChosenSubnet | undefined;
  for (const network of candidates(first)) {
    const overlapping = taken.filter((route) => overlaps(route, network));
    const subnet = `${dotted(network)}/24`;
    if (overlapping.length === 0) return { subnet, hides: undefined };
    const narrowest = overlapping.reduce((a, b) => (prefixOf(a.mask) >= prefixOf(b.mask) ? a : b));
    if (prefixOf(narrowest.mask) > widePrefix) continue;
    fallback ??= { subnet, hides: `${dotted(narrowest.network)}/${prefixOf(narrowest.mask)}` };
  }
  return fallback;
}

function* candidates(preferred: string | undefined): Generator<number> {
  if (preferred !== undefined) yield addressOf(preferred.replace(/\/24$/, ""));
  for (const [first, count] of ranges) {
    const start = addressOf(first);
    for (let index = 0; index < count; index += 1) yield start + index * 256;
  }
}

function addressOf(dottedText: string): number {
  return Buffer.from(dottedText.split(".").map(Number)).readUInt32BE(0);
}

function overlaps(route: Route, network: number): boolean {
  const mask = (route.mask & 0xff_ff_ff_00) >>> 0;
  return (network & mask) >>> 0 === (route.network & mask) >>> 0;
}

/** The number of leading ones of a mask, which is contiguous in the kernel's table. */
function prefixOf(mask: number): number {
  return mask === 0 ? 0 : 32 - Math.log2(2 ** 32 - mask);
}

function dotted(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join(".");
}

/** The lines of /proc/net/route, whose addresses are hexadecimal with the first byte last. */
function parseRoutes(text: string): readonly Route[] {
  return text
    .split("\n")
    .slice(1)
    .map((line) => line.trim().split(/\s+/))
    .filter((columns) => columns.length >= 8)
    .map((columns) => ({
      device: columns[0] ?? "",
      network: fromLittleEndian(columns[1] ?? ""),
      mask: fromLittleEndian(columns[7] ?? ""),
    }));
}

function fromLittleEndian(hex: string): number {
  return Buffer.from(hex.padStart(8, "0"), "hex").readUInt32LE(0);
}

/** The conflist of a temporary server: a bridge without masquerading, and host ports. */
export function temporaryConflist(
  subnet: string,
  ipamDirectory: string,
  bridgeName = DEMO_BRIDGE,
): string {
  const bridge = {
    type: "bridge",
    bridge: bridgeName,
    isGateway: true,
    hairpinMode: true,
    ipMasq: false,
    ipam: {
      type: "host-local",
      dataDir: ipamDirectory,
      ranges: [[{ subnet }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const conflist = {
    cniVersion: "1.0.0",
    name: bridgeName.replace(/0$/, ""),
    plugins: [bridge, portmap],
  };
  return `${JSON.stringify(conflist, undefined, 2)}\n`;
}

/** The chains of the portmap plugin in the output of `iptables -t nat -S`. */
export function portmapChains(rules: string): readonly string[] {
  return rules
    .split("\n")
    .map((line) => /^-N (\S+)$/.exec(line.trim())?.[1] ?? "")
    .filter((chain) => PORTMAP_CHAIN.test(chain));
}

/**
 * The iptables arguments (after `-t nat`) that remove the portmap chains that exist now but
 * were not in `before`: first the rules that jump to them, then the chains. If a chain still
 * forwards to a pod, none is removed.
 */
export function chainRemoval(rules: string, before: readonly string[]): readonly string[][] {
  const obsolete = portmapChains(rules).filter((chain) => !before.includes(chain));
  const appended = rules
    .split("\n")
    .filter((line) => line.startsWith("-A "))
    .map(words);
  const targetOf = (rule: readonly string[]): string => rule[rule.indexOf("-j") + 1] ?? "";
  // The plugin makes one CNI-DN-... chain for each pod and jumps to it from CNI-HOSTPORT-DNAT.
  const inUse = appended.some((rule) => /^CNI-DN-/.test(targetOf(rule)));
  if (inUse) return [];
  const jumps = appended.filter(
    (rule) => obsolete.includes(targetOf(rule)) && !obsolete.includes(rule[1] ?? ""),
  );
  return [
    ...jumps.map((rule) => ["-D", ...rule.slice(1)]),
    ...obsolete.map((chain) => ["-F", chain]),
    ...obsolete.map((chain) => ["-X", chain]),
  ];
}

/** Splits a line of `iptables -S`, which quotes comments with double quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    (match) => match[1]?.replace(/\\(.)/g, "$1") ?? match[2] ?? "",
  );
}
