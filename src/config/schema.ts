// The table of all settings. The parser, the defaults, the comments in `davit config default`, the
// suggestions for unknown keys and docs/configuration.md use it. A new setting is one entry here and one
// field in config.ts; those of handlers are in handler-settings.ts. Start at `sections`.
import type {
  CadvisorConfig,
  CdiConfig,
  CniConfig,
  Config,
  LogConfig,
  RuntimeConfig,
  ServerConfig,
  StreamingConfig,
  TuningConfig,
} from "./config.ts";
import { classes } from "./class-settings.ts";
import type { HandlerTable } from "./handler-settings.ts";
import { images } from "./image-settings.ts";
import { checkpoint } from "./checkpoint-settings.ts";
import { nri } from "./nri-settings.ts";
import { metrics, tracing } from "./observer-settings.ts";
import {
  absolutePath,
  absolutePaths,
  absolutePathsOrNone,
  choice,
  flag,
  group,
  integer,
  ipAddress,
  optionalPath,
  program,
  type Section,
  socketPath,
  text,
} from "./setting.ts";

const MIB = 1024 * 1024;

export { handlerSection, type HandlerTable } from "./handler-settings.ts";

/** The keys above the first table. */
export const topLevel: Section<Pick<Config, "root" | "state" | "writableRoot">> = {
  root: absolutePath({
    default: "/var/lib/davit",
    doc: "Directory for data that must survive a reboot: images, layers, records.",
  }),
  state: absolutePath({
    default: "/run/davit",
    doc: "Directory for data that a reboot may delete: sockets, pinned namespaces, bundles. Should be on a tmpfs.",
  }),
  writableRoot: optionalPath({
    default: "",
    doc: "Directory for the writable layers of containers, on a file system of its own that is mounted before davit starts. Empty: they are in root. Drain the node before you change it.",
  }),
};

const server: Section<ServerConfig> = {
  listen: socketPath({
    default: "/run/davit/davit.sock",
    doc: "Path of the CRI socket. kubelet and crictl need it with the prefix unix://.",
  }),
  group: group({
    default: "",
    doc: "A group of /etc/group, or a gid, whose members may use the socket. This is equivalent to root on this machine. By default only root may use it.",
  }),
  maxMessageBytes: integer({
    default: 16 * MIB,
    min: MIB,
    max: 1024 * MIB,
    limits: `from ${MIB} (1 MiB) to ${1024 * MIB} (1 GiB)`,
    doc: "Maximum size of a request and of a response, in bytes.",
  }),
};

const log: Section<LogConfig> = {
  level: choice({
    of: ["debug", "info", "warn", "error"],
    default: "info",
    doc: "Log level: debug, info, warn or error. The log is JSON lines on stderr, or text if stderr is a terminal.",
  }),
};

const cni: Section<CniConfig> = {
  confDir: absolutePath({
    default: "/etc/cni/net.d",
    doc: "Directory with CNI configurations. The first *.conflist, *.conf or *.json in lexical order is the network of pods. davit watches the directory.",
  }),
  binDirs: absolutePaths({
    default: ["/opt/cni/bin", "/usr/lib/cni"],
    doc: "Directories in which CNI plugins are searched, in this order.",
  }),
  builtin: flag({
    default: true,
    doc: "davit does itself what the plugins bridge, ptp, host-local, loopback, tuning, portmap, bandwidth and firewall (iptables) would do, if it knows all that a configuration says; davit doctor says whether it does. false always runs the plugins.",
  }),
  maxParallel: integer({
    default: 8,
    min: 1,
    max: 256,
    doc: "Maximum number of pods whose plugins run at the same time; others wait. Higher values are slower, since plugins contend for kernel locks.",
  }),
  pluginTimeoutSeconds: integer({
    default: 60,
    min: 1,
    max: 3600,
    doc: "Timeout of a plugin, in seconds. A plugin that runs longer is killed, and the call for its pod fails.",
  }),
};

const cdi: Section<CdiConfig> = {
  enable: flag({
    default: true,
    doc: "false rejects containers with devices of the Container Device Interface (CDI).",
  }),
  specDirs: absolutePaths({
    default: ["/etc/cdi", "/var/run/cdi"],
    doc: "Directories with CDI files, *.json and *.yaml. A device in a later directory overrides one in an earlier directory.",
  }),
};

const runtime: Section<Omit<RuntimeConfig, "handlers">> = {
  defaultHandler: text({
    default: "crun",
    pattern: /./,
    allowed: "the name of a handler",
    doc: "The handler of pods without a RuntimeClass: one of [runtime.handlers].",
  }),
  cgroupDriver: choice({
    of: ["cgroupfs", "systemd"],
    default: "cgroupfs",
    doc: 'The cgroup driver: "cgroupfs", or "systemd" on hosts that systemd runs. kubelet adopts this setting.',
  }),
  monitor: choice({
    of: ["davit", "conmon"],
    default: "davit",
    doc: 'What holds the streams of a container, writes its log and records its exit code: "davit" is davit\'s own program, "conmon" that of runtime.monitor_path. For new containers of handlers without a shim; others keep what they were started with.',
  }),
  monitorPath: program({
    default: "conmon",
    doc: 'The program conmon, where runtime.monitor is "conmon": a path, or a name on PATH.',
  }),
  logSizeMax: integer({
    default: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    limits: "at least 8192, or 0 for no limit",
    doc: 'Maximum size of the log of a container, in bytes: a log that would grow beyond it is emptied, and its lines are lost. 0 means no limit. Where kubelet rotates logs, set a multiple of its containerLogMaxSize. For new containers of handlers without a shim. Requires that runtime.monitor is "davit".',
  }),
  exec: choice({
    of: ["davit", "runtime"],
    default: "davit",
    doc: 'What runs commands without a terminal, such as probes, in containers of crun: "davit" runs them by a program of its own where it knows every step, which takes half of the time and CPU, and otherwise by "crun exec"; "runtime" always runs "crun exec".',
  }),
  logRoots: absolutePathsOrNone({
    default: ["/var/log"],
    doc: 'Directories whose own paths may contain symbolic links: add "/var/log/pods" if that is a link itself. Other symbolic links in the path of a log are rejected.',
  }),
  createTimeoutSeconds: integer({
    default: 120,
    min: 1,
    max: 3600,
    doc: "Timeout for creating a pod or a container, in seconds. It also applies after the client has disconnected.",
  }),
  retryHoldSeconds: integer({
    default: 120,
    min: 0,
    max: 3600,
    doc: "How long a pod or container is kept for a retry after its client has disconnected, in seconds.",
  }),
  deviceOwnershipFromSecurityContext: flag({
    default: false,
    doc: "true sets the owner of devices in unprivileged containers to run_as_user and run_as_group.",
  }),
  seccompAllowSocketcall: flag({
    default: false,
    doc: "true allows socketcall in the RuntimeDefault profile. 32-bit x86 programs of Debian need it for sockets, and can open AF_ALG and AF_VSOCK sockets with it.",
  }),
  selinux: flag({
    default: false,
    doc: "true sets SELinux labels for containers, with a separate level for each pod. Requires a host with SELinux.",
  }),
  writableLayerLimit: integer({
    default: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    limits: "of bytes, or 0 for no limit",
    doc: "Maximum size of a container's writable layer, with the volumes that its image declares, in bytes. 0 means no limit. Requires ext4, xfs or f2fs mounted with project quotas (prjquota), and Linux 5.14; without them nothing is limited, with a warning at the start. For new containers.",
  }),
  writableLayerLimitMax: integer({
    default: 0,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    limits: "of bytes, or 0",
    doc: "The most that a pod's annotation davit.writable-layer-limit may ask for, in bytes. 0: it may only lower the limit of the node.",
  }),
  writableLayerFirstProject: integer({
    default: 2 ** 30,
    min: 1,
    max: 2 ** 32 - 2 ** 20 - 1,
    doc: "The first of 1048576 project IDs for writable layers with a limit. IDs in use by others are skipped.",
  }),
  ptraceInSharedPid: choice({
    of: ["allow", "refuse"],
    default: "allow",
    doc: '"refuse" rejects containers that share a PID namespace and have SYS_PTRACE, since these can escape to the node. See docs/fields.md.',
  }),
  userNamespaces: choice({
    of: ["requested", "auto"],
    default: "requested",
    doc: '"auto" gives pods that do not ask for a user namespace one with ids of their own, unless something in them needs the ids of the node. Needs Linux 6.3. Pods with init containers or several containers, one of which needs these ids, need a handler with "requested". See docs/hardening.md.',
  }),
  userNamespaceFirstId: integer({
    default: 0,
    min: 0,
    max: 2 ** 32 - 2 ** 16 - 1,
    doc: "The first id of the node for such pods. 0: that of user davit or containers in /etc/subuid and /etc/subgid, else 1879048192. Ranges of other users there are skipped.",
  }),
  userNamespaceIds: integer({
    default: 65_536,
    min: 1024,
    max: 2 ** 24,
    doc: "How many ids each such pod has. Pods that run with a higher id get those of the node.",
  }),
  ...classes,
};

const streaming: Section<StreamingConfig> = {
  address: ipAddress({
    default: "127.0.0.1",
    doc: "The address to which exec, attach and port-forward connect. kubelet is on the same machine; other clients need a token.",
  }),
  port: integer({
    default: 0,
    min: 0,
    max: 65535,
    doc: "The port; 0 means any free port. With 0 on 127.0.0.1 and without TLS, davit listens with the first call for streams.",
  }),
  tls: flag({
    default: false,
    doc: "true enables HTTPS. Without tls_cert_file davit generates a certificate at each start.",
  }),
  tlsCertFile: optionalPath({
    default: "",
    doc: "A PEM file with the certificate and its intermediate certificates. Read at the start of the daemon.",
  }),
  tlsKeyFile: optionalPath({ default: "", doc: "A PEM file with the certificate's private key." }),
  idleTimeoutSeconds: integer({
    default: 4 * 60 * 60,
    min: 1,
    max: 7 * 24 * 60 * 60,
    doc: "Connections without traffic are closed after this time, in seconds.",
  }),
  creationTimeoutSeconds: integer({
    default: 30,
    min: 1,
    max: 3600,
    doc: "Timeout for a connected client to open its streams, in seconds.",
  }),
};

const cadvisor: Section<CadvisorConfig> = {
  serve: choice({
    of: ["auto", "always", "never"],
    default: "auto",
    doc: '"auto" serves the socket unless another process does or Docker is on this machine; "always" serves it unless another process does; "never" does not serve it. Checked when davit starts; restart kubelet after a change.',
  }),
  listen: socketPath({
    default: "/run/containerd/containerd.sock",
    doc: "Path of the socket: where cAdvisor looks for containerd. With another path, kubelet needs --containerd=PATH.",
  }),
};

const tuning: Section<TuningConfig> = {
  enable: flag({
    default: true,
    doc: "false turns all of them off: the raised priority of the event loop, compiled code that later starts reuse, cgroup files that stay open, the trimming of memory when idle, the early wait for moves into cgroups of v1, and the option of the kernel that makes them fast (Linux 6.18 and newer, until the next boot). The results stay the same, davit is only slower. Try it when you suspect one of them.",
  }),
};

/** The tables of the file, each with its description. Handlers are separate, since they may have any name. */
export const sections = {
  server: { doc: "The CRI socket for kubelet and crictl.", settings: server },
  log: { doc: "The log of the daemon.", settings: log },
  images: { doc: "Registries, and limits for images.", settings: images },
  cni: { doc: "The network of pods, with CNI plugins.", settings: cni },
  cdi: { doc: "Devices of the Container Device Interface.", settings: cdi },
  runtime: { doc: "How pods and containers run.", settings: runtime },
  streaming: { doc: "The server for exec, attach and port-forward.", settings: streaming },
  cadvisor: {
    doc: "The names of pods for kubelet's cAdvisor, which gets them only from containerd's socket.",
    settings: cadvisor,
  },
  checkpoint: {
    doc: "Checkpoints of containers and pods, by CRIU. See docs/checkpoints.md.",
    settings: checkpoint,
  },
  nri: {
    doc: "Plugins of the node (NRI, Node Resource Interface). See docs/nri.md.",
    settings: nri,
  },
  tracing: {
    doc: "Traces of calls for an OpenTelemetry collector.",
    settings: tracing,
  },
  metrics: { doc: "The metrics of the daemon, for Prometheus.", settings: metrics },
  tuning: { doc: "Measures that only make davit faster or smaller.", settings: tuning },
} as const;

/** The built-in handlers. A file adds handlers, and overrides single keys of these. */
export const builtInHandlers: Readonly<Record<string, Partial<HandlerTable>>> = {
  crun: { path: "crun" },
  runc: { path: "runc" },
};

/** The key in the file for a field of the Config: `max_message_bytes` for `maxMessageBytes`. */
export function tomlKey(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
