/** The bridge of the demo. At most 15 letters (IFNAMSIZ). */
export const DEMO_BRIDGE = "davit-demo0";

// The top-level chains of the portmap plugin, which it never removes by itself.
const PORTMAP_CHAIN = /^CNI-HOSTPORT-/;

/** One route of the host's main table: network and mask as 32-bit numbers. */
interface Route {
  readonly device: string;
  readonly network: number;
  readonly mask: number;
}

/**
 * A /24 for the demo that no route of the host overlaps: 10.88.77.0/24, else the next ones.
 * `routes` is the text of /proc/net/route; the demo's own bridge and default routes do not count.
 * undefined when all 50 candidates are taken.
 */
export function freeSubnet(routes: string): string | undefined {
  const taken = parseRoutes(routes).filter(
    ({ device, mask }) => mask !== 0 && device !== DEMO_BRIDGE,
  );
  for (let third = 77; third < 127; third += 1) {
    const network = ((10 << 24) | (88 << 16) | (third << 8)) >>> 0;
    const overlaps = taken.some((route) => {
      const mask = (route.mask & 0xff_ff_ff_00) >>> 0;
      return (network & mask) >>> 0 === (route.network & mask) >>> 0;
    });
    if (!overlaps) return `10.88.${third}.0/24`;
  }
  return undefined;
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

/** The conflist of the demo: a bridge without masquerading, and host ports. */
export function demoConflist(subnet: string, ipamFolder: string): string {
  const bridge = {
    type: "bridge",
    bridge: DEMO_BRIDGE,
    isGateway: true,
    hairpinMode: true,
    ipMasq: false,
    ipam: {
      type: "host-local",
      dataDir: ipamFolder,
      ranges: [[{ subnet }]],
      routes: [{ dst: "0.0.0.0/0" }],
    },
  };
  const portmap = { type: "portmap", capabilities: { portMappings: true } };
  const conflist = { cniVersion: "1.0.0", name: "davit-demo", plugins: [bridge, portmap] };
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
 * The iptables arguments (after `-t nat`) that take down the portmap chains that are there now and
 * were not in `before`: first the rules that jump to them, then the chains. A chain that still
 * forwards to somebody's pod stays, and with it all of them.
 */
export function chainRemoval(rules: string, before: readonly string[]): readonly string[][] {
  const doomed = portmapChains(rules).filter((chain) => !before.includes(chain));
  const appended = rules
    .split("\n")
    .filter((line) => line.startsWith("-A "))
    .map(words);
  const targetOf = (rule: readonly string[]): string => rule[rule.indexOf("-j") + 1] ?? "";
  // The plugin makes one CNI-DN-... chain for each pod and jumps to it from CNI-HOSTPORT-DNAT.
  const inUse = appended.some((rule) => /^CNI-DN-/.test(targetOf(rule)));
  if (inUse) return [];
  const jumps = appended.filter(
    (rule) => doomed.includes(targetOf(rule)) && !doomed.includes(rule[1] ?? ""),
  );
  return [
    ...jumps.map((rule) => ["-D", ...rule.slice(1)]),
    ...doomed.map((chain) => ["-F", chain]),
    ...doomed.map((chain) => ["-X", chain]),
  ];
}

/** Splits a line of `iptables -S`, which quotes comments with double quotes. */
function words(line: string): string[] {
  return [...line.matchAll(/"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    (match) => match[1]?.replace(/\\(.)/g, "$1") ?? match[2] ?? "",
  );
}
