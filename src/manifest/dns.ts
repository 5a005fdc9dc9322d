import type { Fields } from "./fields.ts";

/** The contents of a pod's resolv.conf. */
interface Dns {
  readonly servers: string[];
  readonly searches: string[];
  readonly options: string[];
}

/**
 * Without a dns_config the runtime copies the node's resolv.conf. ClusterFirst is the same as Default, since
 * there is no cluster DNS.
 */
export function readDns(spec: Fields, resolvConf: string): { readonly dnsConfig?: Dns } {
  const policies = ["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"] as const;
  const policy = spec.choice("dnsPolicy", policies) ?? "ClusterFirst";
  const fields = spec.object("dnsConfig");
  const own = readDnsConfig(fields);
  if (policy === "None") {
    if (own.servers.length === 0) {
      const line = fields === undefined ? "dnsPolicy" : "dnsConfig";
      spec.reject(line, "dnsPolicy None requires dnsConfig.nameservers");
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
    option.rejectUnread();
    return value === undefined ? name : `${name}:${value}`;
  });
  const own = {
    servers: fields?.strings("nameservers") ?? [],
    searches: fields?.strings("searches") ?? [],
    options,
  };
  fields?.rejectUnread();
  return own;
}

/** As in kubelet: the pod's servers and searches follow the node's, its options override the node's. */
function mergeDns(node: Dns, own: Dns): Dns {
  const optionName = (option: string): string => option.split(":")[0] ?? option;
  const overridden = new Set(own.options.map(optionName));
  return {
    servers: [...new Set([...node.servers, ...own.servers])],
    searches: [...new Set([...node.searches, ...own.searches])],
    options: [...node.options.filter((o) => !overridden.has(optionName(o))), ...own.options],
  };
}

/** resolv.conf(5): the last search or domain line counts. */
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
