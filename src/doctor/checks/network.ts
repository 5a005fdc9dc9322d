import { basename } from "node:path";
import type { NetworkReading, NetworkProbe, PluginStep } from "../network-probe.ts";
import { type Check, firstLine, numberOf, type DoctorContext } from "../check.ts";
import { catalogue, type Finding, type Fix } from "../finding.ts";
import type { Host } from "../host.ts";
import { ownerlessAddresses, reservationDirectories } from "../host-local.ts";
import { missingFixes } from "../known-fixes.ts";

const kinds = catalogue("network", {
  configuration: ["ok", ""],
  trial: ["ok", ""],
  iptables: ["ok", ""],
  "no-directory": [
    "error",
    "without a network the node is NotReady and runs only host network pods",
  ],
  "no-configuration": [
    "error",
    "without a network the node is NotReady and runs only host network pods",
  ],
  "file-invalid": ["warning", "davit skips the file and uses the next one"],
  "no-valid-file": ["error", "without a network the node is NotReady"],
  "version-unknown": ["error", "davit skips files of CNI versions that it does not support"],
  "file-ignored": ["note", "only the first file in lexical order configures the network of pods"],
  "plugin-missing": ["error", "pods get no address while a plugin of their network is missing"],
  "plugin-fix-missing": [
    "warning",
    "a pod can attack the node or other pods through a known defect",
  ],
  "plugin-replaced": [
    "warning",
    "davit carries out the network itself, so this program never runs",
  ],
  "plugin-not-ready": ["error", "the plugin reports that it cannot attach pods"],
  "add-failed": ["error", "pods are attached with the same calls, so none can start"],
  "plugin-hangs": ["error", "each pod waits for the plugin until its timeout, and then fails"],
  "no-address": ["error", "pods without an address do not start"],
  "del-failed": ["warning", "addresses and rules of removed pods stay in use until a DEL succeeds"],
  "left-behind": [
    "warning",
    "DEL does not remove everything that ADD created, so leftovers accumulate",
  ],
  "reservation-without-owner": [
    "warning",
    "host-local takes the address for used, and no DEL finds it, so pods run out of addresses earlier",
  ],
  "forwarding-off": ["error", "packets between pods and other machines are dropped"],
  "forwarding-later": [
    "note",
    "a plugin of this network enables it with the first pod, until the next sysctl --system",
  ],
  "forwarding6-off": ["error", "IPv6 packets between pods and other machines are dropped"],
  "bridge-skips-iptables": [
    "warning",
    "connections to a Service fail when the backend is on the same bridge as the client",
  ],
  "iptables-missing": ["error", "plugins of this network need iptables"],
  "iptables-broken": [
    "error",
    "plugins of this network need such rules for host ports and masquerading",
  ],
});

/** The timeout of one plugin, unless cni.plugin_timeout_seconds is shorter. */
const pluginTimeoutMs = 10_000;

/** The CNI configuration, its plugins and what they need of the kernel, with a probe: ADD and DEL. */
export const networkCheck: Check = {
  group: kinds.group,
  title: "Pod network",
  catalogue: kinds,
  deadlineMs: 90_000,
  examine: async (context: DoctorContext) => {
    const { host, config } = context;
    const handlers = Object.values(config.runtime.handlers).map(({ cniConfDir }) => cniConfDir);
    const directories = new Set([
      config.cni.confDir,
      ...handlers.filter((directory) => directory !== ""),
    ]);
    const found: Finding[] = [];
    const readings: NetworkReading[] = [];
    const probes: NetworkProbe[] = [];
    for (const directory of directories) {
      const reading = await host.readNetwork(directory, config.cni);
      readings.push(reading);
      found.push(...describeReading(reading, config.cni.binDirs));
      found.push(...(await portmapFixes(host, reading, config.cni.binDirs)));
      found.push(...(await replacedPlugins(host, reading, config.cni.binDirs)));
      found.push(...(await checkReservations(host, reading)));
      if (reading.network === undefined || reading.missing.length > 0) continue;
      if (!host.isRoot) {
        context.skip(`network: ADD and DEL of network "${reading.network.name}" need root`);
        continue;
      }
      const limitMs = Math.min(config.cni.pluginTimeoutSeconds * 1000, pluginTimeoutMs);
      const probe = await host.probeNetwork(reading, limitMs);
      found.push(...describeProbe(reading.network.name, probe));
      probes.push(probe);
    }
    return [...found, ...(await checkKernel(context, readings, probes))];
  },
};

function describeReading(
  { directory, directoryExists, files, network, invalid, missing, pluginReason }: NetworkReading,
  binDirs: readonly string[],
): readonly Finding[] {
  const install =
    "install a network plugin (Flannel, Calico, Cilium ...), or on a machine without a cluster run davit install, " +
    `which puts a bridge in ${directory}`;
  if (!directoryExists)
    return [kinds.report("no-directory", `"${directory}" does not exist`, install)];
  if (files.length === 0) {
    const text = `no .conflist, .conf or .json in "${directory}"`;
    return [kinds.report("no-configuration", text, install)];
  }
  const found = invalid.map(({ file, reason }) => {
    const name = reason.includes('"cniVersion" must be') ? "version-unknown" : "file-invalid";
    return kinds.report(name, `${file}: ${reason}`, `fix or remove ${file}`);
  });
  if (network === undefined) {
    const text = `no file in "${directory}" is usable`;
    return [...found, kinds.report("no-valid-file", text, `fix ${files[0] ?? "it"}`)];
  }
  const ignored = files.slice(files.indexOf(network.file) + 1).map((file) => basename(file));
  if (ignored.length > 0) {
    const text = `ignored in "${directory}" after ${basename(network.file)}: ${ignored.join(", ")}`;
    found.push(kinds.report("file-ignored", text, "remove the files that are not in use"));
  }
  for (const type of missing) {
    const text = `plugin "${type}" of network "${network.name}" not found in ${binDirs.join(", ")}`;
    const fix = "apt-get install containernetworking-plugins, or set cni.bin_dirs";
    found.push(kinds.report("plugin-missing", text, fix));
  }
  const types = network.plugins.map(({ type }) => type).join(", ");
  const who =
    pluginReason === undefined
      ? "carried out by davit itself"
      : `carried out by the plugins (${pluginReason})`;
  const text = `network "${network.name}" (${network.file}, CNI ${network.cniVersion}): ${types}; ${who}`;
  return [kinds.report("configuration", text), ...found];
}

/** The known defects of portmap. A plugin that is started without CNI_COMMAND prints its version. */
async function portmapFixes(
  host: Host,
  { network }: NetworkReading,
  binDirs: readonly string[],
): Promise<readonly Finding[]> {
  const usesNftables = network?.plugins.some(
    ({ type, config }) => type === "portmap" && config["backend"] === "nftables",
  );
  if (usesNftables !== true) return [];
  const program = binDirs
    .map((directory) => host.findProgram(`${directory}/portmap`))
    .find((file) => file);
  if (program === undefined) return [];
  const { stdout, stderr } = await host.runCommand(program, []);
  const version = `${stdout}\n${stderr}`;
  return missingFixes("portmap", version).map((defect) =>
    kinds.report(
      "plugin-fix-missing",
      `${firstLine(version)} (${program}) lacks the fix for ${defect}`,
      "install a fixed version of the CNI plugins, or use the iptables backend",
    ),
  );
}

/** Programs in the place of plugins that davit carries out itself, which are not those of containernetworking. */
async function replacedPlugins(
  host: Host,
  { network, pluginReason }: NetworkReading,
  binDirs: readonly string[],
): Promise<readonly Finding[]> {
  if (network === undefined || pluginReason !== undefined) return [];
  const found: Finding[] = [];
  const types = network.plugins.flatMap(({ type, config }) =>
    config["ipam"] === undefined ? [type] : [type, "host-local"],
  );
  for (const type of new Set(types)) {
    const program = binDirs
      .map((directory) => host.findProgram(`${directory}/${type}`))
      .find((file) => file);
    if (program === undefined) continue;
    // Started without CNI_COMMAND, each of them says what it is.
    const { stdout, stderr } = await host.runCommand(program, []);
    if (`${stdout}\n${stderr}`.includes(`CNI ${type} plugin`)) continue;
    const text = `${program} does not say that it is the "${type}" of the CNI plugins`;
    const fix = "set cni.builtin = false if it is a program of your own, or remove it";
    found.push(kinds.report("plugin-replaced", text, fix));
  }
  return found;
}

/** Addresses that a power cut has left in use. */
async function checkReservations(host: Host, reading: NetworkReading): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const directory of reservationDirectories(reading)) {
    const addresses = await ownerlessAddresses(host, directory);
    if (addresses.length === 0) continue;
    const shown = `${addresses.slice(0, 3).join(", ")}${addresses.length > 3 ? " ..." : ""}`;
    const text = `${addresses.length} files in ${directory} name no pod: ${shown}`;
    const word = `'${directory.replaceAll("'", String.raw`'\\''`)}'`;
    const remove = `cd ${word} && rm ${addresses.join(" ")}`;
    found.push(kinds.report("reservation-without-owner", text, remove));
  }
  return found;
}

function describeProbe(network: string, { steps, ips, left }: NetworkProbe): readonly Finding[] {
  const found = steps
    .filter(({ error }) => error !== undefined)
    .map((step) =>
      kinds.report(problemOf(step), `${describeStep(step)}: ${step.error ?? ""}`, fixOf(step)),
    );
  const isAttached = !steps.some(({ command, error }) => command !== "DEL" && error !== undefined);
  if (isAttached && ips.length === 0) {
    const fix = "add an ipam to its first plugin";
    found.push(kinds.report("no-address", `ADD of network "${network}" returned no address`, fix));
  }
  for (const what of left) {
    found.push(
      kinds.report("left-behind", what, "remove it; see the logs of the plugins for the reason"),
    );
  }
  if (found.length > 0) return found;
  const text = `network "${network}" assigned and released ${ips.join(", ")}: ${steps.map(describeStep).join(", ")}`;
  return [kinds.report("trial", text)];
}

function problemOf({ command, timedOut }: PluginStep) {
  if (timedOut === true) return "plugin-hangs";
  if (command === "STATUS") return "plugin-not-ready";
  return command === "ADD" ? "add-failed" : "del-failed";
}

function fixOf({ plugin, error }: PluginStep): string {
  if (error?.includes("no IP addresses available") === true) {
    return "free the addresses of removed pods: compare the files in the ipam's dataDir (/var/lib/cni/networks) with davit pods, and delete those without a pod";
  }
  if (error?.includes("already has an IP address different from") === true) {
    return "the bridge has the address of another configuration: delete it with ip link delete when no pod uses it";
  }
  return `check the configuration of plugin "${plugin}", and the log of the service that it talks to`;
}

function describeStep({ command, plugin, ms }: PluginStep): string {
  return `${command} ${plugin} ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

async function checkKernel(
  { host }: DoctorContext,
  readings: readonly NetworkReading[],
  probes: readonly NetworkProbe[],
): Promise<readonly Finding[]> {
  const ips = probes.flatMap((probe) => probe.ips);
  const plugins = readings.flatMap(({ network }) => network?.plugins ?? []);
  const text = JSON.stringify(plugins.map(({ config }) => config));
  const found: Finding[] = [];
  const isLater = (family: "ipv4" | "ipv6"): boolean =>
    probes.some(({ turnsForwardingOn }) => turnsForwardingOn.includes(family));
  const forward = "/proc/sys/net/ipv4/ip_forward";
  if (numberOf(await host.read(forward)) === 0) {
    const name = isLater("ipv4") ? "forwarding-later" : "forwarding-off";
    found.push(kinds.report(name, "net.ipv4.ip_forward is 0", enableSysctl(host, forward)));
  }
  const hasV6 =
    ips.some((ip) => ip.includes(":")) || /"subnet":"[0-9a-f]*:[0-9a-f:]*\//i.test(text);
  const forward6 = await host.read("/proc/sys/net/ipv6/conf/all/forwarding");
  if (hasV6 && numberOf(forward6) === 0) {
    // --fix does not do it: an interface that forwards accepts no addresses from router advertisements.
    const fix =
      "sysctl -w net.ipv6.conf.all.forwarding=1; where the host gets its address by router " +
      "advertisements, set net.ipv6.conf.IFACE.accept_ra=2 first";
    const name = isLater("ipv6") ? "forwarding-later" : "forwarding6-off";
    found.push(kinds.report(name, "net.ipv6.conf.all.forwarding is 0", fix));
  }
  if (plugins.some(({ type }) => type === "bridge"))
    found.push(...(await checkBridgeNetfilter(host)));
  const callers = plugins.filter(usesIptables).map(({ type }) => type);
  return [...found, ...(callers.length === 0 ? [] : await checkIptables(host, callers))];
}

function enableSysctl(host: Host, file: string): Fix {
  const key = file.replace("/proc/sys/", "").replaceAll("/", ".");
  return {
    text: `sysctl -w ${key}=1; to keep it: echo ${key}=1 >/etc/sysctl.d/80-davit.conf`,
    apply: async () => {
      await host.write(file, "1\n");
      return `set ${key} = 1`;
    },
  };
}

async function checkBridgeNetfilter(host: Host): Promise<readonly Finding[]> {
  const value = numberOf(await host.read("/proc/sys/net/bridge/bridge-nf-call-iptables"));
  if (value === 1) return [];
  const text =
    value === undefined ? "br_netfilter is not loaded" : "net.bridge.bridge-nf-call-iptables is 0";
  const fix = "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1";
  return [kinds.report("bridge-skips-iptables", text, fix)];
}

function usesIptables({
  type,
  config,
}: {
  type: string;
  config: Readonly<Record<string, unknown>>;
}) {
  if (config["backend"] === "nftables" || config["ipMasqBackend"] === "nftables") return false;
  return type === "portmap" || type === "firewall" || config["ipMasq"] === true;
}

async function checkIptables(host: Host, callers: readonly string[]): Promise<readonly Finding[]> {
  const plugins = [...new Set(callers)].join(", ");
  const program = host.findProgram("iptables");
  if (program === undefined) {
    const text = `iptables not found in ${host.searchPath}; needed by ${plugins}`;
    return [kinds.report("iptables-missing", text, "apt-get install iptables")];
  }
  const version = firstLine((await host.runCommand(program, ["--version"])).stdout);
  const error = host.isRoot ? await host.probeIptables(program) : undefined;
  if (error === undefined) return [kinds.report("iptables", `${version} (${program})`)];
  const fix =
    "modprobe nf_nat xt_comment xt_multiport xt_MASQUERADE (iptables-nft also needs nft_compat), or " +
    "boot a kernel with CONFIG_NETFILTER_XT_* and CONFIG_NF_NAT, or update-alternatives --config iptables";
  return [kinds.report("iptables-broken", `${version}: ${error}`, fix)];
}
