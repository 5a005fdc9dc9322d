import { RuntimeError } from "../../../base/errors.ts";
import { quote, quoteValue } from "../../../base/quote.ts";
import type { CniResult } from "../result.ts";
import { type Addition, type Family, Iptables } from "./iptables.ts";
import type { BuiltinPlugin, PluginCall } from "./plugin.ts";
import { inEachFamily, type PodAddress, resultAddresses } from "./pod-addresses.ts";
import { isChainName, type Rule } from "./rule-text.ts";

const forward = "CNI-FORWARD";

/**
 * The plugin firewall with the backend "iptables": accepts what a pod sends, and the answers to it, in the chain CNI-FORWARD,
 * after what an administrator has put into CNI-ADMIN.
 */
export class FirewallPlugin implements BuiltinPlugin {
  readonly type = "firewall";
  readonly #iptables: Iptables;

  constructor(iptables = new Iptables()) {
    this.#iptables = iptables;
  }

  obstacle(conf: PluginCall["conf"]): string | undefined {
    const known = ["name", "type", "cniVersion", "capabilities", "backend", "runtimeConfig"];
    const more = ["iptablesAdminChainName", "ingressPolicy"];
    const unknown = Object.keys(conf).find((key) => !known.includes(key) && !more.includes(key));
    if (unknown !== undefined) return `${quote(unknown)} is not known`;
    // Without this key the plugin asks D-Bus whether firewalld runs, at each call.
    if (conf["backend"] !== "iptables") return '"backend" is not "iptables"';
    const { ingressPolicy = "open", iptablesAdminChainName: admin = "CNI-ADMIN" } = conf;
    if (ingressPolicy !== "open" && ingressPolicy !== "") {
      return `"ingressPolicy" ${quoteValue(ingressPolicy)} is not known`;
    }
    if (admin === "" || (typeof admin === "string" && isChainName(admin))) return undefined;
    return `"iptablesAdminChainName" ${quoteValue(admin)} is not known`;
  }

  async add(call: PluginCall, previous: CniResult | undefined): Promise<CniResult> {
    const doing = `add firewall rules of sandbox "${call.containerId}"`;
    const obstacle = this.obstacle(call.conf);
    if (obstacle !== undefined) throw new RuntimeError("invalid-argument", `${doing}: ${obstacle}`);
    if (previous === undefined) {
      const text = `${doing}: firewall must not be the first plugin of a list`;
      throw new RuntimeError("failed-precondition", text);
    }
    await inEachFamily(resultAddresses(previous), async (family, addresses) => {
      const addition = firewallAddition(adminChain(call.conf), family, addresses);
      // An address whose pod went without DEL still has its rules.
      const there = await this.#iptables.rulesOf(family, "filter", forward, call.signal);
      const hosts = addresses.map(hostOf);
      const mayExist = there.some((rule) => hosts.some((host) => rule.includes(` ${host} `)));
      await this.#iptables.add(doing, addition, call.signal, mayExist);
    });
    return previous;
  }

  async del({ containerId, signal }: PluginCall, previous: CniResult | undefined): Promise<void> {
    // Without a result the plugin does not know the addresses either.
    if (previous === undefined) return;
    const doing = `remove firewall rules of sandbox "${containerId}"`;
    await inEachFamily(resultAddresses(previous), (family, addresses) =>
      this.#iptables.removeRules(doing, family, "filter", addresses.flatMap(rulesFor), signal),
    );
  }
}

function adminChain(conf: PluginCall["conf"]): string {
  const name = conf["iptablesAdminChainName"];
  return typeof name === "string" && name !== "" ? name : "CNI-ADMIN";
}

/** The rules for addresses of one family: those of firewall 1.1.1, with the same text and order. */
export function firewallAddition(
  admin: string,
  family: Family,
  addresses: readonly PodAddress[],
): Addition {
  const jump = (chain: string, comment: string, to: string): Rule => ({
    chain,
    args: ["-m", "comment", "--comment", comment, "-j", to],
  });
  return {
    family,
    table: "filter",
    sharedChains: [forward, admin],
    shared: [
      { ...jump("FORWARD", "CNI firewall plugin rules", forward), first: true },
      { ...jump(forward, "CNI firewall plugin admin overrides", admin), first: true },
    ],
    rules: addresses.flatMap(rulesFor),
  };
}

function rulesFor(address: PodAddress): readonly Rule[] {
  const host = hostOf(address);
  const answers = ["-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED"];
  return [
    { chain: forward, args: ["-d", host, ...answers, "-j", "ACCEPT"] },
    { chain: forward, args: ["-s", host, "-j", "ACCEPT"] },
  ];
}

function hostOf({ family, ip }: PodAddress): string {
  return `${ip}/${family === 4 ? 32 : 128}`;
}

/** As davit uses it. */
export const firewallPlugin: BuiltinPlugin = new FirewallPlugin();
