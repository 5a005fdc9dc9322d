type Json = Readonly<Record<string, unknown>>;

// go-cni's prefix and the first index: containerd's name for the pod's interface.
const defaultInterface = "eth0";

interface Interface {
  readonly IPConfigs: { readonly IP: string; readonly Gateway: string }[];
  readonly Mac: unknown;
  readonly Sandbox: unknown;
  readonly PciID: unknown;
  readonly SocketPath: unknown;
}

/**
 * Converts the result of the last CNI plugin (CNI specification, section 5) to the format of containerd's
 * `cniResult` (go-cni's Result): interfaces by name, each with its addresses. Fields of the wrong type,
 * which no stored result has, are left out.
 */
export function goCniResult(result: string): object {
  const json = asObject(JSON.parse(result));
  const interfaces = asObjects(json["interfaces"]);
  const byName = new Map([[defaultInterface, interfaceOf({})]]);
  for (const each of interfaces) byName.set(nameOf(each), interfaceOf(each));
  for (const ip of asObjects(json["ips"])) {
    const at = ip["interface"];
    const owner = typeof at === "number" ? interfaces[at] : undefined;
    const name = owner === undefined ? defaultInterface : nameOf(owner);
    byName.get(name)?.IPConfigs.push({
      IP: typeof ip["address"] === "string" ? (ip["address"].split("/", 1)[0] ?? "") : "",
      Gateway: typeof ip["gateway"] === "string" ? ip["gateway"] : "",
    });
  }
  return {
    Interfaces: Object.fromEntries(byName),
    DNS: [asObject(json["dns"])],
    Routes: asObjects(json["routes"]),
  };
}

function interfaceOf(json: Json): Interface {
  return {
    IPConfigs: [],
    Mac: json["mac"] ?? "",
    Sandbox: json["sandbox"] ?? "",
    PciID: json["pciID"] ?? "",
    SocketPath: json["socketPath"] ?? "",
  };
}

function nameOf(json: Json): string {
  const { name } = json;
  return typeof name === "string" ? name : "";
}

function asObjects(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.map(asObject) : [];
}

function asObject(value: unknown): Json {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Json)
    : {};
}
