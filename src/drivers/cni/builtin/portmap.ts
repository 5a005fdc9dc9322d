import { RuntimeError } from "../../../base/errors.ts";
import type { CniResult } from "../result.ts";
import { type HostNetwork, hostNetwork } from "./host-network.ts";
import { type Family, forEither, inParallel, Iptables } from "./iptables.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";
import { type PodAddress, targetAddresses } from "./pod-addresses.ts";
import { type PortmapConf, parsePortmapConf } from "./portmap-conf.ts";
import type { NftPortmap } from "./portmap-nftables.ts";
import { portmapAddition, portmapRemoval } from "./portmap-rules.ts";
import { checkNames } from "./rule-text.ts";

/** Host ports as the plugin portmap makes them. Without host ports neither ADD nor DEL starts a process. */
export class PortmapPlugin implements BuiltinPlugin {
  readonly type = "portmap";
  readonly capabilities = ["portMappings"];
  readonly #iptables: Iptables;
  readonly #host: HostNetwork;

  constructor(iptables = new Iptables(), host = hostNetwork) {
    this.#iptables = iptables;
    this.#host = host;
  }

  obstacle(conf: PluginCall["conf"]): string | undefined {
    const parsed = parsePortmapConf(conf);
    return "obstacle" in parsed ? parsed.obstacle : undefined;
  }

  async add(call: PluginCall, previous: CniResult | undefined): Promise<CniResult> {
    const conf = confOf(call);
    if (previous === undefined) {
      const text = `add host ports of sandbox "${call.containerId}": portmap must not be the first plugin of a list`;
      throw new RuntimeError("failed-precondition", text);
    }
    if (conf.mappings.length === 0) return previous;
    const doing = `add host ports of sandbox "${call.containerId}"`;
    const addresses = targetAddresses(previous, call.ifName);
    await inParallel(addresses, (address) => this.#forward(doing, call, conf, address));
    return previous;
  }

  async del(call: PluginCall, previous: CniResult | undefined): Promise<void> {
    const { containerId, ifName, signal } = call;
    const conf = parsePortmapConf(call.conf);
    // With mappings that cannot be read, ADD of davit failed, and that of the plugin can have made anything.
    const recorded = "obstacle" in conf ? undefined : conf;
    if (recorded?.mappings.length === 0) return;
    const network = String(call.conf["name"]);
    checkNames(network, containerId);
    const doing = `remove host ports of sandbox "${containerId}"`;
    // Without a result, ADD did not end, and can have made rules for either family.
    const known =
      recorded && previous && targetAddresses(previous, ifName).map(({ family }) => family);
    if (call.conf["backend"] === "nftables") {
      await (await nftPortmap()).remove(doing, containerId, known);
      return;
    }
    const remove = (family: Family): Promise<void> => {
      const removal = portmapRemoval(network, containerId, family, known && recorded);
      return this.#iptables.remove(doing, removal, signal);
    };
    if (known !== undefined) await inParallel(known, remove);
    else await forEither(remove);
  }

  async #forward(
    doing: string,
    { containerId, signal }: PluginCall,
    conf: PortmapConf,
    address: PodAddress,
  ): Promise<void> {
    const { family, ip } = address;
    if (conf.backend === "nftables") {
      await (await nftPortmap()).add(doing, conf, containerId, address, signal);
    } else {
      // So that packets of 127.0.0.0/8 may leave by this interface.
      if (conf.snat && family === 4) await this.#host.routeLocalnetTo(ip);
      await this.#iptables.add(doing, portmapAddition(conf, containerId, address), signal);
    }
    // A flow that is older than the rules would pass them by forever.
    const ports = conf.mappings.filter(({ protocol }) => protocol === "udp");
    const udp = new Set(ports.map(({ hostPort }) => hostPort));
    if (udp.size > 0) await this.#host.forgetUdpFlows(family, udp);
  }
}

function confOf({ conf, containerId }: PluginCall): PortmapConf {
  const parsed = parsePortmapConf(conf);
  if ("obstacle" in parsed) {
    const text = `read the configuration of portmap for sandbox "${containerId}": ${parsed.obstacle}`;
    throw new RuntimeError("invalid-argument", text);
  }
  checkNames(parsed.network, containerId);
  return parsed;
}

async function nftPortmap(): Promise<NftPortmap> {
  const { NftPortmap } = await import("./portmap-nftables.ts");
  return new NftPortmap();
}

/** As davit uses it. */
export const portmapPlugin: BuiltinPlugin = new PortmapPlugin();
