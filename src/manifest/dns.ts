import type { Fields } from "./fields.ts";

/** What a pod's resolv.conf says. */
export interface Dns {
  readonly servers: string[];
  readonly searches: string[];
  readonly options: string[];
}

/** No dns_config makes the runtime copy the node's resolv.conf. There is no cluster to serve names. */
export function readDns(spec: Fields, resolvConf: string): { readonly dnsConfig?: Dns } {
  const policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] as const;
  const policy = spec.choice("dnsPolicy", policies) ?? "ClusterFirst";
  const fields = spec.object("dnsConfig");
  const own = readDnsConfig(fields);
  if (policy === "None") {
    if (own.servers.length === 0) {
      const line = fields === undefined ? "dnsPolicy" : "dnsConfig";
      spec.refuse(line, "needs dnsConfig.nameservers with dnsPolicy None");
    }
    return { dnsConfig: own };
  }
  return fields === undefined ? {} : { dnsConfig: mergeDns(parseResolvConf(resolvConf), own) };
}

function readDnsConfig(fields: Fields | undefined): Dns {
  const options = (fields?.objects("options") ?? []).map((option) => {
    option.require("name");
    const name = option.string("name") ?? "";
    const value = option.string("value");
    option.refuseRest();
    return value === undefined ? name : `${name}:${value}`;
  });
  const own = {
    servers: fields?.strings("nameservers") ?? [],
    searches: fields?.strings("searches") ?? [],
    options,
  };
  fields?.refuseRest();
  return own;
}

/** As kubelet: the pod's servers and searches after the node's, its options over the node's. */
function mergeDns(node: Dns, own: Dns): Dns {
  const optionName = (option: string): string => option.split(":")[0] ?? option;
  const overridden = new Set(own.options.map(optionName));
  return {
    servers: [...new Set([...node.servers, ...own.servers])],
    searches: [...new Set([...node.searches, ...own.searches])],
    options: [...node.options.filter((o) => !overridden.has(optionName(o))), ...own.options],
  };
}

/** resolv.conf(5): the last of several search lines counts, and so does domain as a search. */
function parseResolvConf(text: string): Dns {
  const dns: Dns = { servers: [], searches: [], options: [] };
  for (const line of text.split("\n")) {
    const [keyword, ...words] = line.trim().split(/\s+/);
    if (keyword === "nameserver") dns.servers.push(...words.slice(0, 1));
    if (keyword === "search" || keyword === "domain") {
      dns.searches.splice(0, dns.searches.length, ...words);
    }
    if (keyword === "options") dns.options.push(...words);
  }
  return dns;
}
