import { ipVersion } from "../../../base/ip-address.ts";
import { RuntimeError, wrap } from "../../../base/errors.ts";
import { deleteFromNft, listNftRules } from "../../../linux/netlink/index.ts";
import { type Family, inParallel, type RunProgram, runOnHost } from "./iptables.ts";
import type { PodAddress } from "./pod-addresses.ts";
import type { PortMapping, PortmapConf } from "./portmap-conf.ts";
import { isUnspecified } from "./portmap-rules.ts";

const table = "cni_hostport";
/** Where rules of containers are. The second one has those of older versions of the plugin. */
const containerChains = ["hostports", "hostip_hostports", "masquerading"];

/**
 * What makes the rules of a container's host ports in a table of their own, for `nft -f`: those of portmap since 1.6.1 with
 * the backend "nftables". The rules of a container have its ID as comment, by which they are removed.
 */
export function nftAddition(conf: PortmapConf, containerId: string, address: PodAddress): string {
  const { family, ip } = address;
  const type = family === 4 ? "ip" : "ip6";
  const chain = (name: string, more = ""): string => `add chain ${type} ${table} ${name}${more}`;
  const rule = (name: string, text: string): string => `add rule ${type} ${table} ${name} ${text}`;
  const ofContainer = (name: string, text: string): string =>
    rule(name, `${text} comment "${containerId}"`);
  const hook = (name: string): readonly string[] => [
    chain(name, ` { type nat hook ${name} priority -100 ; }`),
    `flush chain ${type} ${table} ${name}`,
    rule(name, "fib daddr type local jump hostports_all"),
  ];
  const masquerade = (from: string): string =>
    ofContainer("masquerading", `${type} saddr ${from} ${type} daddr ${ip} masquerade`);
  const mappings = conf.mappings.filter(
    ({ hostIp }) => hostIp === undefined || ipVersion(hostIp) === family,
  );
  return [
    `add table ${type} ${table} { comment "CNI portmap plugin" ; }`,
    ...["hostports", "hostip_hostports", "hostports_all"].map((name) => chain(name)),
    `flush chain ${type} ${table} hostports_all`,
    rule("hostports_all", "jump hostip_hostports"),
    rule("hostports_all", "jump hostports"),
    ...hook("prerouting"),
    ...hook("output"),
    ...(conf.snat ? [chain("masquerading", " { type nat hook postrouting priority 100 ; }")] : []),
    ...mappings.map((mapping) => ofContainer("hostports", translation(mapping, address, type))),
    ...(conf.snat ? [masquerade(ip)] : []),
    ...(conf.snat && family === 4 ? [masquerade("127.0.0.1")] : []),
    "",
  ].join("\n");
}

function translation(
  { hostPort, containerPort, protocol, hostIp }: PortMapping,
  { family, ip }: PodAddress,
  type: string,
): string {
  const isOne = hostIp !== undefined && !isUnspecified(hostIp);
  const to = family === 4 ? `${ip}:${containerPort}` : `[${ip}]:${containerPort}`;
  return `${isOne ? `${type} daddr ${hostIp} ` : ""}${protocol} dport ${hostPort} dnat to ${to}`;
}

/** Host ports by nftables: one process for each family at ADD, none at DEL. */
export class NftPortmap {
  readonly #run: RunProgram;

  constructor(run: RunProgram = runOnHost) {
    this.#run = run;
  }

  async add(
    doing: string,
    conf: PortmapConf,
    containerId: string,
    address: PodAddress,
    signal: AbortSignal,
  ): Promise<void> {
    const failure = await this.#nft(nftAddition(conf, containerId, address), signal);
    if (failure !== undefined) throw failed(doing, failure);
  }

  /** Removes the rules of both families, or of those alone that a record names. What is not there is left out. */
  async remove(
    doing: string,
    containerId: string,
    recorded: readonly Family[] | undefined,
  ): Promise<void> {
    await inParallel(recorded ?? ([4, 6] as const), async (family) => {
      try {
        // A call for the same container may delete them between reading and writing.
        await removeRules(family, containerId).catch(() => removeRules(family, containerId));
      } catch (error) {
        throw wrap(doing, error);
      }
    });
  }

  async #nft(input: string, signal: AbortSignal): Promise<string | undefined> {
    const { code, stderr } = await this.#run({ file: "nft", args: ["-f", "-"], input, signal });
    return code === 0 ? undefined : stderr;
  }
}

async function removeRules(family: Family, containerId: string): Promise<void> {
  const nft = { family, name: table };
  const rules = await listNftRules(nft, containerChains);
  await deleteFromNft(
    nft,
    rules.filter(({ comment }) => comment === containerId),
  );
}

function failed(doing: string, stderr: string): RuntimeError {
  const said = stderr.trim().replace(/\s+/g, " ").slice(0, 500);
  return new RuntimeError("failed-precondition", `${doing}: nft failed: ${said}`);
}
