import { create } from "@bufbuild/protobuf";
import { defaultConfig } from "../../config/load.ts";
import type { NetworkReading, NetworkProbe } from "../network-probe.ts";
import type { ImageProbe, RegistryTrial } from "../registry-probe.ts";
import { StatusResponseSchema, VersionResponseSchema } from "../../gen/runtime/v1/api_pb.ts";
import type { MountEntry } from "../../linux/mount/index.ts";
import type {
  CommandResult,
  CriStatus,
  Host,
  ConnectProbe,
  FileInfo,
  DiskSpace,
  ImageKeys,
  PluginFiles,
} from "../host.ts";

/** A mount for `FixtureHost.mountTable`. */
export function mountEntry(
  mountPoint: string,
  fsType: string,
  more: Partial<MountEntry> = {},
): MountEntry {
  return {
    id: 1,
    parentId: 0,
    device: "0:1",
    root: "/",
    mountPoint,
    options: ["rw"],
    propagation: ["shared:1"],
    fsType,
    source: fsType,
    superOptions: ["rw"],
    ...more,
  };
}

const gib = 1024 ** 3;
const allCapabilities = "000001ffffffffff";

/** A network without problems, as `readNetwork` returns it. */
export const healthyReading = {
  directory: "/etc/cni/net.d",
  directoryExists: true,
  files: ["/etc/cni/net.d/10-bridge.conflist"],
  network: {
    file: "/etc/cni/net.d/10-bridge.conflist",
    name: "pods",
    cniVersion: "1.0.0",
    plugins: [
      { type: "bridge", config: { type: "bridge", ipam: { type: "host-local" } } },
      { type: "portmap", config: { type: "portmap" } },
    ],
    text: "{}",
  },
  invalid: [],
  missing: [],
  binDirs: ["/opt/cni/bin"],
  builtin: true,
  pluginReason: undefined,
} as const satisfies NetworkReading;

/** A probe of a network without problems. */
export const healthyNetworkProbe: NetworkProbe = {
  steps: [
    { command: "ADD", plugin: "bridge", ms: 12.3 },
    { command: "ADD", plugin: "portmap", ms: 4 },
    { command: "DEL", plugin: "portmap", ms: 4 },
    { command: "DEL", plugin: "bridge", ms: 9 },
  ],
  ips: ["10.1.0.2"],
  left: [],
  turnsForwardingOn: [],
};

/** The result of a program that exited with 0. */
export function succeeded(stdout: string): CommandResult {
  return { code: 0, stdout, stderr: "" };
}

/** The features of a runtime with seccomp and CRIU; `version` is the annotation with its own. */
function runtimeFeatures(version: string): string {
  const checkpoints = "org.opencontainers.runc.checkpoint.enabled";
  return JSON.stringify({
    linux: { seccomp: { enabled: true } },
    annotations: { [checkpoints]: "true", [version]: "1.30" },
  });
}

interface Condition {
  readonly type: string;
  readonly status: boolean;
  readonly message?: string;
}

/** The answers of a daemon without problems; `info` replaces parts of its verbose Status. */
export function criStatus(
  info: Readonly<Record<string, unknown>> = {},
  conditions: readonly Condition[] = [
    { type: "RuntimeReady", status: true },
    { type: "NetworkReady", status: true },
  ],
): CriStatus {
  const facts: Readonly<Record<string, unknown>> = {
    config: defaultConfig(),
    records: { sandboxes: 2, containers: 3 },
    recordsSetAside: [],
    recordsOwed: [],
    recordsCanBeWritten: true,
    failedEnds: [],
    lastFailures: [{ operation: "pull-image", subject: "b", startedMs: 0, error: "long ago" }],
    pendingNetworkRemovals: [],
    unfinishedRemovals: [],
    inflight: [],
    ...info,
  };
  const texts = Object.entries(facts).map(([key, fact]) => [key, JSON.stringify(fact)]);
  return {
    version: versionOf("davit"),
    status: create(StatusResponseSchema, {
      status: { conditions: [...conditions] },
      info: Object.fromEntries(texts) as Record<string, string>,
    }),
  };
}

/** A server's answer to Version. */
export function versionOf(runtimeName: string): NonNullable<CriStatus["version"]> {
  return create(VersionResponseSchema, {
    runtimeName,
    runtimeVersion: "0.1.0",
    runtimeApiVersion: "v1",
  });
}

/**
 * A machine in memory. A new one has no problems: cgroup v2, root and state
 * in order, a network, and a daemon that responds. Tests change what should be wrong.
 */
export class FixtureHost implements Host {
  isRoot = true;
  kernelRelease = "6.12.48";
  searchPath = "/usr/sbin:/usr/bin";
  env: Record<string, string | undefined> = {};
  timeMs = Date.UTC(2026, 5, 1);
  /** The texts of files, by path. */
  readonly files = new Map<string, string>([
    ["/proc/filesystems", "nodev\toverlay\n\terofs\n\text4\n"],
    ["/proc/sys/kernel/seccomp/actions_avail", "kill_process errno trace log allow\n"],
    ["/proc/sys/kernel/pid_max", "4194304\n"],
    ["/proc/sys/kernel/cap_last_cap", "40\n"],
    ["/proc/sys/fs/inotify/max_user_instances", "8192\n"],
    ["/proc/sys/fs/inotify/max_user_watches", "524288\n"],
    ["/proc/sys/user/max_user_namespaces", "63000\n"],
    ["/proc/sys/user/max_net_namespaces", "63000\n"],
    ["/proc/sys/net/ipv4/ip_forward", "1\n"],
    ["/proc/sys/net/ipv6/conf/all/forwarding", "0\n"],
    ["/proc/sys/net/bridge/bridge-nf-call-iptables", "1\n"],
    [
      "/proc/self/status",
      `NoNewPrivs:\t0\nCapEff:\t${allCapabilities}\nCapBnd:\t${allCapabilities}\n`,
    ],
    ["/proc/stat", `cpu 1 2 3\nbtime ${Date.UTC(2026, 4, 1) / 1000}\n`],
    ["/proc/locks", "1: FLOCK  ADVISORY  WRITE 77 00:1:2 0 EOF\n"],
    ["/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"],
    ["/sys/fs/cgroup/cgroup.subtree_control", "cpuset cpu io memory hugetlb pids\n"],
    ["/etc/crictl.yaml", "runtime-endpoint: unix:///run/davit/davit.sock\n"],
  ]);
  /** The names in directories, by path. */
  readonly directories = new Map<string, readonly string[]>([
    ["/proc/self/ns", ["ipc", "mnt", "net", "pid", "user", "uts"]],
    ["/etc/davit/certs.d", ["registry.example"]],
  ]);
  /** Files and directories besides those in `files` and `directories`. */
  readonly fileInfos = new Map<string, FileInfo>([
    ["/var/lib/davit", { kind: "directory", mode: 0o711, modifiedMs: 0, inode: 2n }],
    ["/run/davit", { kind: "directory", mode: 0o711, modifiedMs: 0, inode: 2n }],
    ["/run/davit/davit.sock", { kind: "socket", mode: 0o660, modifiedMs: 0, inode: 2n }],
    ["/usr/lib64/libcriu.so.2", { kind: "file", mode: 0o644, modifiedMs: 0, inode: 2n }],
  ]);
  mountTable: MountEntry[] = [
    mountEntry("/", "ext4"),
    mountEntry("/proc", "proc"),
    mountEntry("/sys", "sysfs"),
    mountEntry("/run", "tmpfs"),
    mountEntry("/sys/fs/cgroup", "cgroup2"),
  ];
  readonly diskSpaces = new Map<string, DiskSpace>();
  readonly programs = new Set(["conmon", "crun", "runc", "iptables", "crictl", "criu"]);
  /** The results of commands, by `PROGRAM ARGS`. */
  readonly commands = new Map<string, CommandResult>([
    ["conmon --version", succeeded("conmon version 2.1.12\n")],
    ["conmon --help", succeeded("--full-attach --no-sync-log --exit-dir --sync --bundle")],
    ["crun --version", succeeded("crun version 1.30\n")],
    ["criu --version", succeeded("Version: 4.2\n")],
    ["crun features", succeeded(runtimeFeatures("run.oci.crun.version"))],
    ["runc --version", succeeded("runc version 1.4.3\n")],
    ["runc features", succeeded(runtimeFeatures("org.opencontainers.runc.version"))],
    ["iptables --version", succeeded("iptables v1.8.11\n")],
  ]);
  readonly pids = new Set<number>();
  addonProblem: string | undefined;
  monitorProblem: string | undefined;
  overlayProblem: string | undefined;
  xattrsProblem: string | undefined;
  iptablesProblem: string | undefined;
  readonly probes = new Map<string, ConnectProbe>([["/run/davit/davit.sock", "open"]]);
  cri: CriStatus = criStatus();
  reading: NetworkReading = healthyReading;
  networkProbe: NetworkProbe = healthyNetworkProbe;
  registry: RegistryTrial = {
    registry: "registry.example",
    file: "/etc/davit/certs.d/registry.example",
    hosts: [{ root: "https://registry.example/v2", ms: 12, status: 401 }],
  };
  imageKeys: ImageKeys = { count: 1, problems: [] };
  plugins: PluginFiles = { names: [], refused: [] };
  image: ImageProbe = { image: "busybox", ms: 20, digest: "sha256:abc" };
  /** Thrown by all methods that change the machine. */
  changeError: Error | undefined;
  /** The changes so far, in words. */
  readonly changes: string[] = [];

  nowMs(): number {
    return this.timeMs;
  }

  async read(path: string): Promise<string | undefined> {
    return this.files.get(path);
  }

  async list(path: string): Promise<readonly string[] | undefined> {
    return this.directories.get(path);
  }

  async fileInfo(path: string): Promise<FileInfo | undefined> {
    const known = this.fileInfos.get(path);
    if (known !== undefined) return known;
    if (this.files.has(path)) return { kind: "file", mode: 0o644, modifiedMs: 0, inode: 2n };
    const isDirectory = this.directories.has(path) || path === "/var/lib";
    return isDirectory ? { kind: "directory", mode: 0o755, modifiedMs: 0, inode: 2n } : undefined;
  }

  async diskSpace(path: string): Promise<DiskSpace | undefined> {
    const plenty = {
      totalBytes: 100 * gib,
      freeBytes: 60 * gib,
      totalInodes: 1e6,
      freeInodes: 9e5,
    };
    return this.diskSpaces.get(path) ?? plenty;
  }

  async mounts(): Promise<readonly MountEntry[]> {
    return this.mountTable;
  }

  findProgram(program: string): string | undefined {
    if (program.startsWith("/")) return this.programs.has(program) ? program : undefined;
    return this.programs.has(program) ? `/usr/bin/${program}` : undefined;
  }

  async runCommand(program: string, args: readonly string[]): Promise<CommandResult> {
    const words = [program.replace(/^\/usr\/bin\//, ""), ...args].join(" ");
    const known = this.commands.get(words);
    if (known !== undefined) return known;
    this.changes.push(words);
    if (this.changeError !== undefined) {
      return { code: 32, stdout: "", stderr: `${this.changeError.message}\n` };
    }
    const [, controller = "", target = ""] = /^mount .* -o (\w+) cgroup (\S+)$/.exec(words) ?? [];
    if (controller !== "") {
      this.mountTable.push(mountEntry(target, "cgroup", { superOptions: ["rw", controller] }));
      this.files.set("/sys/fs/cgroup/unified/cgroup.controllers", "\n");
    }
    const unmounted = /^umount -l (\S+)$/.exec(words)?.[1];
    this.mountTable = this.mountTable.filter(({ mountPoint }) => mountPoint !== unmounted);
    return succeeded("");
  }

  isProcessAlive(pid: number): boolean {
    return this.pids.has(pid);
  }

  async probeAddon(): Promise<string | undefined> {
    return this.addonProblem;
  }

  async probeMonitor(): Promise<string | undefined> {
    return this.monitorProblem;
  }

  async probeOverlay(): Promise<string | undefined> {
    return this.overlayProblem;
  }

  async probeXattrs(): Promise<string | undefined> {
    return this.xattrsProblem;
  }

  async probeIptables(): Promise<string | undefined> {
    return this.iptablesProblem;
  }

  async probeConnect(socket: string): Promise<ConnectProbe> {
    return this.probes.get(socket) ?? "absent";
  }

  async criStatus(): Promise<CriStatus> {
    return this.cri;
  }

  async readNetwork(): Promise<NetworkReading> {
    return this.reading;
  }

  async probeNetwork(): Promise<NetworkProbe> {
    return this.networkProbe;
  }

  async probeRegistry(): Promise<RegistryTrial> {
    return this.registry;
  }

  async probeImage(): Promise<ImageProbe> {
    return this.image;
  }

  async readImageKeys(): Promise<ImageKeys> {
    return this.imageKeys;
  }

  async readPlugins(): Promise<PluginFiles> {
    return this.plugins;
  }

  async write(path: string, text: string): Promise<void> {
    this.#change(`write ${path}`);
    this.files.set(path, text);
  }

  async makeDirectory(path: string): Promise<void> {
    this.#change(`mkdir ${path}`);
    this.fileInfos.set(path, { kind: "directory", mode: 0o711, modifiedMs: 0, inode: 2n });
  }

  async remove(path: string): Promise<void> {
    this.#change(`remove ${path}`);
    this.fileInfos.delete(path);
    this.probes.delete(path);
    const at = path.lastIndexOf("/");
    const names = this.directories.get(path.slice(0, at)) ?? [];
    this.directories.set(
      path.slice(0, at),
      names.filter((name) => name !== path.slice(at + 1)),
    );
  }

  #change(what: string): void {
    this.changes.push(what);
    if (this.changeError !== undefined) throw this.changeError;
  }
}
