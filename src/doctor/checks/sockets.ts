import { type Check, numberOf, type DoctorContext, wordsOf } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("sockets", {
  davit: ["ok", ""],
  crictl: ["ok", ""],
  absent: [
    "note",
    "davit serve does not run, or listens elsewhere: kubelet and crictl reach nothing",
  ],
  stale: ["note", "a daemon was killed; clients are refused until davit serve runs again"],
  "not-a-socket": ["error", "davit serve does not start while something else lies there"],
  denied: ["note", "only root and the socket's group may speak to davit"],
  silent: [
    "error",
    "kubelet takes a runtime that does not answer for dead, and the node goes down",
  ],
  "other-server": ["error", "davit serve does not start while another server listens there"],
  "daemon-unreachable": [
    "error",
    "a daemon holds the state directory, and clients do not reach it",
  ],
  "open-to-group": ["note", "its members are root on this machine: they may run privileged pods"],
  "open-to-others": ["warning", "who may speak to davit is root on this machine"],
  "other-runtime": ["note", "pods of one runtime are not seen by the other"],
  "crictl-elsewhere": ["note", "crictl shows pods of another runtime"],
  "crictl-unset": ["note", "crictl tries the sockets of other runtimes, and not davit's"],
  "kubelet-elsewhere": ["note", "kubelet runs its pods by another runtime"],
});

const others: Readonly<Record<string, string>> = {
  "/run/containerd/containerd.sock": "containerd",
  "/run/crio/crio.sock": "CRI-O",
  "/run/cri-dockerd.sock": "cri-dockerd",
  "/run/k3s/containerd/containerd.sock": "k3s",
};

const crictlFile = "/etc/crictl.yaml";
const kubeletFile = "/var/lib/kubelet/config.yaml";

/** The CRI sockets of this machine, and who is set to which. */
export const socketsCheck: Check = {
  group: kinds.group,
  title: "Sockets",
  catalogue: kinds,
  examine: async (subject: DoctorContext) => {
    const { host, config } = subject;
    const own = config.server.listen;
    return [
      ...(await examineOwn(subject, own)),
      ...(await examineOthers(host, own)),
      ...(await examineClients(host, own)),
    ];
  },
};

async function examineOwn(
  { host, config }: DoctorContext,
  path: string,
): Promise<readonly Finding[]> {
  const look = await host.fileInfo(path);
  if (look !== undefined && look.kind !== "socket") {
    return [
      kinds.report(
        "not-a-socket",
        `${path} is a ${look.kind}`,
        `move it away, or set server.listen`,
      ),
    ];
  }
  const found: Finding[] = [];
  if (look !== undefined && (look.mode & 0o002) !== 0) {
    found.push(
      kinds.report("open-to-others", `${path} is open to every user`, `chmod o-w ${path}`),
    );
  }
  if (look !== undefined && config.server.group !== "") {
    const { group } = config.server;
    const text = `${path} is open to group "${group}"`;
    found.push(kinds.report("open-to-group", text, `look who is in it: getent group ${group}`));
  }
  const knock = look === undefined ? "absent" : await host.probeConnect(path);
  if (knock === "open") return [...found, ...(await whoAnswers(host, path))];
  if (knock === "denied") {
    return [...found, kinds.report("denied", `no permission for ${path}`, "run it as root")];
  }
  const holder = await lockHolder(host, config.state);
  if (holder !== undefined) {
    const text = `process ${holder} holds ${config.state}/davit.lock, and nobody serves ${path}`;
    const fix = `look at its log; if it starts no more, kill ${holder} and start davit serve`;
    return [...found, kinds.report("daemon-unreachable", text, fix)];
  }
  return [...found, knock === "absent" ? absent(path) : stale(host, path)];
}

function absent(path: string): Finding {
  return kinds.report("absent", `${path} is not there`, "davit serve, or systemctl start davit");
}

function stale(host: Host, path: string): Finding {
  const apply = async (): Promise<string> => {
    // Somebody may serve it by now.
    if ((await host.probeConnect(path)) !== "refused") throw new Error("somebody serves it by now");
    await host.remove(path);
    return `removed the socket ${path}, which nobody served`;
  };
  const fix = { text: `start davit serve, which replaces it; or rm ${path}`, apply };
  return kinds.report("stale", `nobody serves ${path}`, fix);
}

/** The process that holds the lock on the state directory (flock(2), shown by proc_locks(5)). */
async function lockHolder(host: Host, state: string): Promise<number | undefined> {
  const pid = numberOf(await host.read(`${state}/davit.lock`));
  if (pid === undefined || !host.lives(pid)) return undefined;
  const locks = (await host.read("/proc/locks")) ?? "";
  return new RegExp(`FLOCK +ADVISORY +WRITE +${pid} `).test(locks) ? pid : undefined;
}

async function whoAnswers(host: Host, path: string): Promise<readonly Finding[]> {
  const { version, error } = await host.askCri(path);
  if (version === undefined) {
    const text = `${path} takes connections and does not answer: ${error ?? ""}`;
    const fix = "look at davit's log; systemctl restart davit leaves pods running";
    return [kinds.report("silent", text, fix)];
  }
  const { runtimeName, runtimeVersion, runtimeApiVersion } = version;
  const text = `${path}: ${runtimeName} ${runtimeVersion} (CRI ${runtimeApiVersion})`;
  if (runtimeName === "davit") return [kinds.report("davit", text)];
  return [kinds.report("other-server", text, "stop it, or set server.listen to another path")];
}

async function examineOthers(host: Host, own: string): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  for (const [path, name] of Object.entries(others)) {
    if (path === own || (await host.fileInfo(path))?.kind !== "socket") continue;
    if ((await host.probeConnect(path)) !== "open") continue;
    found.push(
      kinds.report("other-runtime", `${name} serves ${path}`, `stop ${name} if davit replaces it`),
    );
  }
  return found;
}

async function examineClients(host: Host, own: string): Promise<readonly Finding[]> {
  const found: Finding[] = [];
  const crictl = endpointOf(await host.read(crictlFile), "runtime-endpoint");
  const setIt = `echo 'runtime-endpoint: unix://${own}' >${crictlFile}`;
  if (crictl === own) {
    found.push(kinds.report("crictl", `crictl speaks to ${own} (${crictlFile})`));
  } else if (crictl !== undefined) {
    found.push(
      kinds.report("crictl-elsewhere", `crictl is set to ${crictl} (${crictlFile})`, setIt),
    );
  } else if (host.find("crictl") !== undefined) {
    found.push(kinds.report("crictl-unset", `${crictlFile} names no runtime-endpoint`, setIt));
  }
  const kubelet = endpointOf(await host.read(kubeletFile), "containerRuntimeEndpoint");
  if (kubelet !== undefined && kubelet !== own) {
    const fix = `set containerRuntimeEndpoint: unix://${own} in ${kubeletFile} and restart kubelet`;
    found.push(
      kinds.report("kubelet-elsewhere", `kubelet is set to ${kubelet} (${kubeletFile})`, fix),
    );
  }
  return found;
}

/** The socket's path that a key of a flat YAML file names. */
function endpointOf(yaml: string | undefined, key: string): string | undefined {
  const line = (yaml ?? "").split("\n").find((text) => text.startsWith(`${key}:`));
  const value = wordsOf(line)[1]
    ?.replace(/^["']|["']$/g, "")
    .replace(/^unix:\/\//, "");
  return value === "" ? undefined : value;
}
