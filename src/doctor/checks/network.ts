import { basename } from "node:path";
import type { NetworkReading, NetworkTrial, PluginStep } from "../network-trial.ts";
import { type Check, firstLine, numberOf, type DoctorContext } from "../check.ts";
import { catalogue, type Finding, type Fix } from "../finding.ts";
import type { Host } from "../host.ts";
import { missingFixes } from "../known-fixes.ts";

const kinds = catalogue("network", {
  configuration: ["ok", ""],
  trial: ["ok", ""],
  iptables: ["ok", ""],
  "no-directory": [
    "error",
    "without a network the node is not ready, and only host network pods run",
  ],
  "no-configuration": [
    "error",
    "without a network the node is not ready, and only host network pods run",
  ],
  "file-invalid": ["warning", "davit skips the file and takes the next one"],
  "no-valid-file": ["error", "without a network the node is not ready"],
  "version-unknown": ["error", "davit skips a file of a CNI version that it does not speak"],
  "file-ignored": ["note", "only the first file in lexical order is the network of pods"],
  "plugin-missing": [
    "error",
    "no pod gets an address while one of its network's plugins is missing",
  ],
  "plugin-fix-missing": ["warning", "a pod can attack the node or other pods by a known defect"],
  "plugin-not-ready": ["error", "the plugin says that it can attach no pods now"],
  "add-failed": ["error", "each pod is attached by the same calls: none can start"],
  "plugin-hangs": ["error", "each pod waits for the plugin until its time is over, and then fails"],
  "no-address": ["error", "a pod without an address does not start"],
  "del-failed": ["warning", "pods go, but their addresses and rules stay until a DEL succeeds"],
  "left-behind": ["warning", "DEL took not all that ADD made: it will pile up with the pods"],
  "forwarding-off": ["error", "packets between pods and other machines are dropped"],
  "forwarding-later": [
    "note",
    "a plugin of this network turns it on with the first pod; until the next sysctl --system",
  ],
  "forwarding6-off": ["error", "IPv6 packets between pods and other machines are dropped"],
  "bridge-skips-iptables": [
    "warning",
    "a pod that calls a Service whose backend is on the same bridge gets no answer",
  ],
  "iptables-missing": ["error", "plugins of this network call iptables"],
  "iptables-broken": [
    "error",
    "plugins of this network make such rules: host ports and masquerading",
  ],
});

/** One plugin may take this long here, and less where the configuration allows less. */
const pluginTimeoutMs = 10_000;

/** The CNI configuration, its plugins, and what they need of the kernel; tried out by an ADD. */
export const networkCheck: Check = {
  group: kinds.group,
  title: "Pod network",
  catalogue: kinds,
  deadlineMs: 90_000,
  examine: async (subject: DoctorContext) => {
    const { host, config } = subject;
    const handlers = Object.values(config.runtime.handlers).map(({ cniConfDir }) => cniConfDir);
    const directories = new Set([
      config.cni.confDir,
      ...handlers.filter((directory) => directory !== ""),
    ]);
    const found: Finding[] = [];
    const readings: NetworkReading[] = [];
    const trials: NetworkTrial[] = [];
    for (const directory of directories) {
      const reading = await host.readNetwork(directory, config.cni.binDirs);
      readings.push(reading);
      found.push(...describeReading(reading, config.cni.binDirs));
      found.push(...(await portmapFixes(host, reading, config.cni.binDirs)));
      if (reading.network === undefined || reading.missing.length > 0) continue;
      if (!host.isRoot) {
        subject.leaveOut(`network: an ADD and DEL of "${reading.network.name}", which take root`);
        continue;
      }
      const limitMs = Math.min(config.cni.pluginTimeoutSeconds * 1000, pluginTimeoutMs);
      const trial = await host.tryNetwork(reading, limitMs);
      found.push(...describeTrial(reading.network.name, trial));
      trials.push(trial);
    }
    return [...found, ...(await kernel(subject, readings, trials))];
  },
};

function describeReading(
  { directory, directoryExists, files, network, invalid, missing }: NetworkReading,
  binDirs: readonly string[],
): readonly Finding[] {
  const install = `install a network plugin (Flannel, Calico, Cilium...), or put a .conflist into ${directory}`;
  if (!directoryExists)
    return [kinds.report("no-directory", `"${directory}" is not there`, install)];
  if (files.length === 0) {
    const text = `no .conflist, .conf or .json in "${directory}"`;
    return [kinds.report("no-configuration", text, install)];
  }
  const found = invalid.map(({ file, reason }) => {
    const name = reason.includes('"cniVersion" must be') ? "version-unknown" : "file-invalid";
    return kinds.report(name, `${file}: ${reason}`, `fix or remove ${file}`);
  });
  if (network === undefined) {
    const text = `no file in "${directory}" can be used`;
    return [...found, kinds.report("no-valid-file", text, `fix ${files[0] ?? "it"}`)];
  }
  const behind = files.slice(files.indexOf(network.file) + 1).map((file) => basename(file));
  if (behind.length > 0) {
    const text = `${behind.join(", ")} in "${directory}", behind ${basename(network.file)}`;
    found.push(kinds.report("file-ignored", text, "remove what is not meant to be used"));
  }
  for (const type of missing) {
    const text = `plugin "${type}" of "${network.name}" is not in ${binDirs.join(", ")}`;
    const fix = "apt-get install containernetworking-plugins, or set cni.bin_dirs";
    found.push(kinds.report("plugin-missing", text, fix));
  }
  const types = network.plugins.map(({ type }) => type).join(", ");
  const text = `"${network.name}" of ${network.file}, CNI ${network.cniVersion}: ${types}`;
  return [kinds.report("configuration", text), ...found];
}

/** A plugin that is started without CNI_COMMAND prints its version. */
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
    .map((directory) => host.find(`${directory}/portmap`))
    .find((file) => file);
  if (program === undefined) return [];
  const { stdout, stderr } = await host.command(program, []);
  const version = `${stdout}\n${stderr}`;
  return missingFixes("portmap", version).map((defect) =>
    kinds.report(
      "plugin-fix-missing",
      `${firstLine(version)} (${program}) lacks the fix of ${defect}`,
      "install a fixed version of the CNI plugins, or use the iptables backend",
    ),
  );
}

function describeTrial(network: string, { steps, ips, left }: NetworkTrial): readonly Finding[] {
  const found = steps
    .filter(({ error }) => error !== undefined)
    .map((step) =>
      kinds.report(problemOf(step), `${said(step)}: ${step.error ?? ""}`, mendOf(step)),
    );
  const isAttached = !steps.some(({ command, error }) => command !== "DEL" && error !== undefined);
  if (isAttached && ips.length === 0) {
    const fix = "give its first plugin an ipam";
    found.push(kinds.report("no-address", `ADD of "${network}" gave no address`, fix));
  }
  for (const what of left) {
    found.push(kinds.report("left-behind", what, "look into the plugins' own logs; remove it"));
  }
  if (found.length > 0) return found;
  const text = `"${network}" gave ${ips.join(" and ")}, and took it back: ${steps.map(said).join(", ")}`;
  return [kinds.report("trial", text)];
}

function problemOf({ command, timedOut }: PluginStep) {
  if (timedOut === true) return "plugin-hangs";
  if (command === "STATUS") return "plugin-not-ready";
  return command === "ADD" ? "add-failed" : "del-failed";
}

function mendOf({ plugin, error }: PluginStep): string {
  if (error?.includes("no IP addresses available") === true) {
    return "addresses of pods that are gone may be reserved still: compare the files of the ipam's dataDir (/var/lib/cni/networks) with davit pods, and remove those of no pod";
  }
  if (error?.includes("already has an IP address different from") === true) {
    return "the bridge has the address of another configuration: ip link delete it when no pod uses it";
  }
  return `look into the configuration of "${plugin}", and into the log of what it talks to`;
}

function said({ command, plugin, ms }: PluginStep): string {
  return `${command} ${plugin} ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

async function kernel(
  { host }: DoctorContext,
  readings: readonly NetworkReading[],
  trials: readonly NetworkTrial[],
): Promise<readonly Finding[]> {
  const ips = trials.flatMap((trial) => trial.ips);
  const plugins = readings.flatMap(({ network }) => network?.plugins ?? []);
  const text = JSON.stringify(plugins.map(({ config }) => config));
  const found: Finding[] = [];
  const isLater = (family: "ipv4" | "ipv6"): boolean =>
    trials.some(({ turnsForwardingOn }) => turnsForwardingOn.includes(family));
  const forward = "/proc/sys/net/ipv4/ip_forward";
  if (numberOf(await host.read(forward)) === 0) {
    const name = isLater("ipv4") ? "forwarding-later" : "forwarding-off";
    found.push(kinds.report(name, "net.ipv4.ip_forward is 0", turnOn(host, forward)));
  }
  const hasV6 =
    ips.some((ip) => ip.includes(":")) || /"subnet":"[0-9a-f]*:[0-9a-f:]*\//i.test(text);
  const forward6 = await host.read("/proc/sys/net/ipv6/conf/all/forwarding");
  if (hasV6 && numberOf(forward6) === 0) {
    // Not done unasked: an interface that forwards takes no more addresses by router advertisements.
    const fix =
      "sysctl -w net.ipv6.conf.all.forwarding=1; where the host has its address by router " +
      "advertisements, net.ipv6.conf.IFACE.accept_ra=2 first";
    const name = isLater("ipv6") ? "forwarding-later" : "forwarding6-off";
    found.push(kinds.report(name, "net.ipv6.conf.all.forwarding is 0", fix));
  }
  if (plugins.some(({ type }) => type === "bridge")) found.push(...(await bridgeRules(host)));
  const callers = plugins.filter(usesIptables).map(({ type }) => type);
  return [...found, ...(callers.length === 0 ? [] : await iptables(host, callers))];
}

function turnOn(host: Host, file: string): Fix {
  const key = file.replace("/proc/sys/", "").replaceAll("/", ".");
  return {
    text: `sysctl -w ${key}=1; to keep it: echo ${key}=1 >/etc/sysctl.d/80-davit.conf`,
    apply: async () => {
      await host.write(file, "1\n");
      return `set ${key} = 1`;
    },
  };
}

async function bridgeRules(host: Host): Promise<readonly Finding[]> {
  const value = numberOf(await host.read("/proc/sys/net/bridge/bridge-nf-call-iptables"));
  if (value === 1) return [];
  const what =
    value === undefined ? "br_netfilter is not loaded" : "net.bridge.bridge-nf-call-iptables is 0";
  const fix = "modprobe br_netfilter && sysctl -w net.bridge.bridge-nf-call-iptables=1";
  return [kinds.report("bridge-skips-iptables", what, fix)];
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

async function iptables(host: Host, callers: readonly string[]): Promise<readonly Finding[]> {
  const who = [...new Set(callers)].join(", ");
  const program = host.find("iptables");
  if (program === undefined) {
    const text = `no iptables in ${host.searchPath}; needed by ${who}`;
    return [kinds.report("iptables-missing", text, "apt-get install iptables")];
  }
  const version = firstLine((await host.command(program, ["--version"])).stdout);
  const refusal = host.isRoot ? await host.tryIptables(program) : undefined;
  if (refusal === undefined) return [kinds.report("iptables", `${version} (${program})`)];
  const fix =
    "modprobe nf_nat xt_comment xt_multiport xt_MASQUERADE (iptables-nft: nft_compat, too), or " +
    "boot a kernel with CONFIG_NETFILTER_XT_* and CONFIG_NF_NAT; update-alternatives --config iptables";
  return [kinds.report("iptables-broken", `${version}: ${refusal}`, fix)];
}
