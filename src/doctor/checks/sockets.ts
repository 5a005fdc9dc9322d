import { type Check, type DoctorContext, wordsOf } from "../check.ts";
import { ownerOf } from "../directory-owner.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("sockets", {
  davit: ["ok", ""],
  crictl: ["ok", ""],
  cadvisor: ["ok", ""],
  absent: [
    "note",
    "davit serve is not running, or listens on another path: kubelet and crictl cannot connect",
  ],
  stale: ["note", "a daemon was killed; clients cannot connect until davit serve runs again"],
  "not-a-socket": ["error", "davit serve does not start while another file is at this path"],
  denied: ["note", "only root and the socket's group may connect to davit"],
  silent: ["error", "kubelet reports the node as NotReady when the runtime does not respond"],
  "other-server": ["error", "davit serve does not start while another server listens on this path"],
  "daemon-unreachable": [
    "error",
    "a daemon has locked the state directory, but clients cannot connect to it",
  ],
  "open-to-group": ["note", "members of the group can become root: they may run privileged pods"],
  "open-to-others": ["warning", "every user who can connect to davit can become root"],
  "other-runtime": ["note", "the runtimes do not see each other's pods"],
  "crictl-elsewhere": ["note", "crictl shows the pods of another runtime"],
  "crictl-unset": [
    "note",
    "crictl tries the sockets of other runtimes by default, but not davit's",
  ],
  "kubelet-elsewhere": ["note", "kubelet runs its pods with another runtime"],
});

const others: Readonly<Record<string, string>> = {
  "/run/containerd/containerd.sock": "containerd",
  "/run/crio/crio.sock": "CRI-O",
  "/run/cri-dockerd.sock": "cri-dockerd",
  "/run/k3s/containerd/containerd.sock": "k3s",
};

const crictlFile = "/etc/crictl.yaml";
const kubeletFile = "/var/lib/kubelet/config.yaml";

/** The CRI sockets of this machine, and the sockets that crictl and kubelet are configured to use. */
export const socketsCheck: Check = {
  group: kinds.group,
  title: "Sockets",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { host, config } = context;
    const own = config.server.listen;
    return [
      ...(await examineOwn(context, own)),
      ...(await examineOthers(context, own)),
      ...(await examineClients(host, own)),
    ];
  },
};

async function examineOwn(
  { host, config }: DoctorContext,
  path: string,
): Promise<readonly Finding[]> {
  const info = await host.fileInfo(path);
  if (info !== undefined && info.kind !== "socket") {
    return [
      kinds.report(
        "not-a-socket",
        `${path} is a ${info.kind}`,
        `move the file away, or set server.listen to another path`,
      ),
    ];
  }
  const found: Finding[] = [];
  if (info !== undefined && (info.mode & 0o002) !== 0) {
    found.push(
      kinds.report("open-to-others", `${path} is writable by every user`, `chmod o-w ${path}`),
    );
  }
  if (info !== undefined && config.server.group !== "") {
    const { group } = config.server;
    const text = `${path} is writable by group "${group}"`;
    found.push(kinds.report("open-to-group", text, `check its members: getent group ${group}`));
  }
  const probe = info === undefined ? "absent" : await host.probeConnect(path);
  if (probe === "open") return [...found, ...(await describeServer(host, path))];
  if (probe === "denied") {
    return [
      ...found,
      kinds.report("denied", `connect to ${path}: permission denied`, "run davit doctor as root"),
    ];
  }
  const holder = await lockHolder(host, config.state);
  if (holder !== undefined) {
    const text = `process ${holder} holds ${config.state}/davit.lock, but does not serve ${path}`;
    const fix = `see its log; if it is no longer starting, kill ${holder} and start davit serve`;
    return [...found, kinds.report("daemon-unreachable", text, fix)];
  }
  return [...found, probe === "absent" ? absent(path) : stale(host, path)];
}

function absent(path: string): Finding {
  return kinds.report("absent", `${path} does not exist`, "davit serve, or systemctl start davit");
}

function stale(host: Host, path: string): Finding {
  const apply = async (): Promise<string> => {
    // A server may listen on it by now.
    if ((await host.probeConnect(path)) !== "refused") {
      throw new Error(`remove ${path}: a server listens on it now`);
    }
    await host.remove(path);
    return `removed the stale socket ${path}`;
  };
  const fix = { text: `start davit serve, which replaces it; or rm ${path}`, apply };
  return kinds.report("stale", `no server listens on ${path}`, fix);
}

/** The process that holds the lock on the state directory. */
async function lockHolder(host: Host, state: string): Promise<number | undefined> {
  const path = `${state}/davit.lock`;
  const owner = ownerOf({
    text: (await host.read(path)) ?? "",
    inode: (await host.fileInfo(path))?.inode,
    locks: (await host.read("/proc/locks")) ?? "",
    isAlive: (pid) => host.isProcessAlive(pid),
  });
  return owner?.pid;
}

async function describeServer(host: Host, path: string): Promise<readonly Finding[]> {
  const { version, error } = await host.criStatus(path);
  if (version === undefined) {
    const text = `${path} accepts connections but does not respond: ${error ?? ""}`;
    const fix = "see davit's log; systemctl restart davit leaves pods running";
    return [kinds.report("silent", text, fix)];
  }
  const { runtimeName, runtimeVersion, runtimeApiVersion } = version;
  const text = `${path}: ${runtimeName} ${runtimeVersion} (CRI ${runtimeApiVersion})`;
  if (runtimeName === "davit") return [kinds.report("davit", text)];
  return [
    kinds.report("other-server", text, "stop that server, or set server.listen to another path"),
  ];
}

async function examineOthers(
  { host, config }: DoctorContext,
  own: string,
): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const [path, name] of Object.entries(others)) {
    if (path === own || (await host.fileInfo(path))?.kind !== "socket") continue;
    if ((await host.probeConnect(path)) !== "open") continue;
    if (path === config.cadvisor.listen && (await servesCadvisor(host, own))) {
      found.push(kinds.report("cadvisor", `davit serves kubelet's cAdvisor at ${path}`));
      continue;
    }
    found.push(
      kinds.report(
        "other-runtime",
        `${name} listens on ${path}`,
        `stop ${name} if davit replaces it`,
      ),
    );
  }
  return found;
}

/** True when davit itself is at the socket that another runtime usually has. */
async function servesCadvisor(host: Host, own: string): Promise<boolean> {
  const { status } = await host.criStatus(own);
  return /"served":true/.test(status?.info["cadvisor"] ?? "");
}

async function examineClients(host: Host, own: string): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  const crictl = endpointOf(await host.read(crictlFile), "runtime-endpoint");
  const setIt = `echo 'runtime-endpoint: unix://${own}' >${crictlFile}`;
  if (crictl === own) {
    found.push(kinds.report("crictl", `crictl uses ${own} (${crictlFile})`));
  } else if (crictl !== undefined) {
    found.push(kinds.report("crictl-elsewhere", `crictl uses ${crictl} (${crictlFile})`, setIt));
  } else if (host.findProgram("crictl") !== undefined) {
    found.push(kinds.report("crictl-unset", `${crictlFile} does not set runtime-endpoint`, setIt));
  }
  const kubelet = endpointOf(await host.read(kubeletFile), "containerRuntimeEndpoint");
  if (kubelet !== undefined && kubelet !== own) {
    const fix = `set containerRuntimeEndpoint: unix://${own} in ${kubeletFile} and restart kubelet`;
    found.push(kinds.report("kubelet-elsewhere", `kubelet uses ${kubelet} (${kubeletFile})`, fix));
  }
  return found;
}

/** The socket path in a key of a flat YAML file. */
function endpointOf(yaml: string | undefined, key: string): string | undefined {
  const line = (yaml ?? "").split("\n").find((text) => text.startsWith(`${key}:`));
  const value = wordsOf(line)[1]
    ?.replace(/^["']|["']$/g, "")
    .replace(/^unix:\/\//, "");
  return value === "" ? undefined : value;
}
