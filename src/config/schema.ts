// The one table of all settings. Reading a file, the defaults, the commented output of
// `davit config default` and the names that an unknown key is compared with all come from here; a
// new setting is one line here and one field in config.ts. Start reading at `sections`.

import type {
  CdiConfig,
  CniConfig,
  Config,
  HandlerConfig,
  ImagesConfig,
  LogConfig,
  RuntimeConfig,
  ServerConfig,
  StreamingConfig,
  TuningConfig,
} from "./config.ts";
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
  optionalProgram,
  options,
  program,
  type Section,
  socketPath,
  text,
  texts,
} from "./setting.ts";

const MIB = 1024 * 1024;

/** The keys above the first table. */
export const topLevel: Section<Pick<Config, "root" | "state">> = {
  root: absolutePath({
    default: "/var/lib/davit",
    doc: "What must survive a reboot: images, layers, records.",
  }),
  state: absolutePath({
    default: "/run/davit",
    doc: "What a reboot may take: sockets, pinned namespaces, bundles. Best on a tmpfs.",
  }),
};

const server: Section<ServerConfig> = {
  listen: socketPath({
    default: "/run/davit/davit.sock",
    doc: "The CRI socket. kubelet and crictl name it with unix:// before it.",
  }),
  group: group({
    default: "",
    doc: "A group of /etc/group, or a gid, whose members may use the socket. That makes them root on this machine. Without it only root may.",
  }),
  maxMessageBytes: integer({
    default: 16 * MIB,
    min: MIB,
    max: 1024 * MIB,
    limits: `from ${MIB} (1 MiB) to ${1024 * MIB} (1 GiB)`,
    doc: "The largest request that is read and answer that is sent, in bytes.",
  }),
};

const log: Section<LogConfig> = {
  level: choice({
    of: ["debug", "info", "warn", "error"],
    default: "info",
    doc: "debug, info, warn or error. JSON lines on stderr; readable when stderr is a terminal.",
  }),
};

const images: Section<ImagesConfig> = {
  registryConfigPath: absolutePath({
    default: "/etc/davit/certs.d",
    doc: "A directory with one directory a registry, each with a hosts.toml: mirrors, certificates.",
  }),
  pinned: texts({
    default: [],
    doc: "Names of images that kubelet must never collect, as pull takes them: busybox:1.37.",
  }),
  volumes: choice({
    of: ["copy", "ignore"],
    default: "copy",
    doc: '"copy" gives a container a directory where its image has a VOLUME, with what the image has there; "ignore" does not.',
  }),
  maxLayers: integer({
    default: 500,
    min: 1,
    max: 500,
    doc: "An image with more layers is refused before any is fetched. overlayfs mounts 500 at most.",
  }),
  maxUnpackedBytes: integer({
    default: 1024 * 1024 * MIB,
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    limits: "of bytes, or 0 for no limit",
    doc: "An image whose layers have more bytes than this when unpacked is refused. 0 for no limit.",
  }),
  maxUnpackedRatio: integer({
    default: 200,
    min: 0,
    max: 1_000_000,
    doc: "A layer that unpacks to more than 16 GiB may have so many times the bytes of its compressed blob. 0 for no limit.",
  }),
  maxLayerEntries: integer({
    default: 4_000_000,
    min: 0,
    max: 1_000_000_000,
    doc: "A layer with more files, directories and links than this is refused. 0 for no limit.",
  }),
  trustPresentLayers: flag({
    default: false,
    doc: "true lets every pull use the layers on this node without asking the registry. Only for nodes of one tenant.",
  }),
};

const cni: Section<CniConfig> = {
  confDir: absolutePath({
    default: "/etc/cni/net.d",
    doc: "The first *.conflist, *.conf or *.json in lexical order is the network of pods. Watched.",
  }),
  binDirs: absolutePaths({
    default: ["/opt/cni/bin", "/usr/lib/cni"],
    doc: "Where CNI plugins are looked up, in this order.",
  }),
  maxParallel: integer({
    default: 8,
    min: 1,
    max: 256,
    doc: "How many pods' plugins run at once; others wait. More is slower: they share kernel locks.",
  }),
  pluginTimeoutSeconds: integer({
    default: 60,
    min: 1,
    max: 3600,
    doc: "A plugin that runs longer is killed, and its pod's call fails.",
  }),
};

const cdi: Section<CdiConfig> = {
  enable: flag({
    default: true,
    doc: "false refuses devices of the Container Device Interface (CDI).",
  }),
  specDirs: absolutePaths({
    default: ["/etc/cdi", "/var/run/cdi"],
    doc: "Directories with CDI files, *.json and *.yaml. A device in a later directory wins over an earlier one's.",
  }),
};

const runtime: Section<Omit<RuntimeConfig, "handlers">> = {
  defaultHandler: text({
    default: "crun",
    pattern: /./,
    allowed: "the name of a handler",
    doc: "The handler of pods that name none. One of the [runtime.handlers] below.",
  }),
  cgroupDriver: choice({
    of: ["cgroupfs", "systemd"],
    default: "cgroupfs",
    doc: 'Who makes cgroups: davit ("cgroupfs"), or systemd, where that runs the host. kubelet asks for it.',
  }),
  monitorPath: program({
    default: "conmon",
    doc: "conmon, which holds a container's stdio and writes its log: a path, or a name on PATH.",
  }),
  logRoots: absolutePathsOrNone({
    default: ["/var/log"],
    doc: 'Directories whose own path may lead through symbolic links on the way to a log: add "/var/log/pods" where that is a link itself. Any other link on the way to a log is refused.',
  }),
  createTimeoutSeconds: integer({
    default: 120,
    min: 1,
    max: 3600,
    doc: "How long making a pod or a container may take, also after its caller went away.",
  }),
  retryHoldSeconds: integer({
    default: 120,
    min: 0,
    max: 3600,
    doc: "How long a pod or container whose caller went away is held for the same call to come again.",
  }),
  deviceOwnershipFromSecurityContext: flag({
    default: false,
    doc: "true gives the devices of a container that is not privileged to its run_as_user and run_as_group.",
  }),
  seccompAllowSocketcall: flag({
    default: false,
    doc: "true allows socketcall under RuntimeDefault: 32-bit x86 programs of Debian need it for sockets, and can reach AF_ALG and AF_VSOCK by it.",
  }),
  selinux: flag({
    default: false,
    doc: "true gives containers SELinux labels, each pod a level of its own. On a host with SELinux alone.",
  }),
  ptraceInSharedPid: choice({
    of: ["allow", "refuse"],
    default: "allow",
    doc: '"refuse" refuses containers that share a PID namespace and have SYS_PTRACE: with it, they can reach the node. See docs/fields.md.',
  }),
};

const streaming: Section<StreamingConfig> = {
  address: ipAddress({
    default: "127.0.0.1",
    doc: "Where exec, attach and port-forward connect to. kubelet is on the same machine; whoever else reaches it needs a token.",
  }),
  port: integer({ default: 0, min: 0, max: 65535, doc: "0 takes a free one at each start." }),
  tls: flag({
    default: false,
    doc: "true serves https, with a certificate made at each start unless one is given.",
  }),
  tlsCertFile: optionalPath({
    default: "",
    doc: "A PEM file with the certificate and what stands between it and its root. Read at the start.",
  }),
  tlsKeyFile: optionalPath({ default: "", doc: "A PEM file with the certificate's private key." }),
  idleTimeoutSeconds: integer({
    default: 4 * 60 * 60,
    min: 1,
    max: 7 * 24 * 60 * 60,
    doc: "A connection on which nothing comes and goes for so long is closed.",
  }),
  creationTimeoutSeconds: integer({
    default: 30,
    min: 1,
    max: 3600,
    doc: "How long a client may take to open its streams once it is connected.",
  }),
};

/** A handler as the file writes it: `enabled` decides whether the Config has it at all. */
export interface HandlerTable extends HandlerConfig {
  readonly enabled: boolean;
}

/** The keys of each [runtime.handlers.NAME]. */
export const handlerSection: Section<HandlerTable> = {
  enabled: flag({
    default: true,
    doc: "false takes the handler away. crun and runc are there, also if not named, unless taken away so.",
  }),
  controller: choice({
    of: ["podsandbox", "shim"],
    default: "podsandbox",
    doc: 'Who makes the sandbox: "podsandbox" (namespaces of this host), or "shim" (by its sandbox API: Kata and others).',
  }),
  path: optionalProgram({
    default: "",
    doc: "The OCI runtime that runs under conmon: a path, or a name on PATH. Or runtime_type.",
  }),
  runtimeType: text({
    default: "",
    pattern: /^$|^\/\S+$|^[a-z0-9][\w-]*(\.[\w-]+)+$/,
    allowed: 'a shim\'s name as "io.containerd.runc.v2", its absolute path, or "" for none',
    doc: 'Instead of path: the containerd shim that runs containers, as "io.containerd.runc.v2".',
  }),
  runtimePath: optionalPath({
    default: "",
    doc: "The shim's program, where the one on PATH that runtime_type stands for is not it.",
  }),
  options: options({
    default: {},
    doc: "Handed to the shim as they are.",
  }),
  podAnnotations: texts({
    default: [],
    doc: 'The pod annotations that the runtime is given, also by pattern: "io.katacontainers.*".',
  }),
  containerAnnotations: texts({
    default: [],
    doc: "The container annotations that the runtime is given, also by pattern.",
  }),
  privilegedWithoutHostDevices: flag({
    default: false,
    doc: "true keeps the host's devices from privileged containers.",
  }),
  privilegedWithoutHostDevicesAllDevicesAllowed: flag({
    default: false,
    doc: "true lets such a container use every device that it makes itself by mknod.",
  }),
  cgroupWritable: flag({
    default: false,
    doc: "true mounts /sys/fs/cgroup writable for all containers. Refused unless cgroup v2 is mounted with nsdelegate.",
  }),
  baseRuntimeSpec: optionalPath({
    default: "",
    doc: "A config.json to start each container's OCI spec from. See docs/handlers.md.",
  }),
  hooksDir: optionalPath({
    default: "",
    doc: "A directory of OCI hooks (*.json, oci-hooks(5)), read at each start. See docs/handlers.md.",
  }),
  cniConfDir: optionalPath({
    default: "",
    doc: "A CNI directory for this handler's pods alone, in place of cni.conf_dir.",
  }),
};

const tuning: Section<TuningConfig> = {
  enable: flag({
    default: true,
    doc: "false turns all of them off: the priority of the event loop, code that is compiled once for all starts, cgroup files that stay open, memory that is given back when idle, and the kernel's wait for a cgroup move that begins early. davit then does the same more slowly; try it when something looks wrong, and report it if that helps.",
  }),
};

/** Each table of the file, with the sentence that stands over it. Handlers apart: any name. */
export const sections = {
  server: { doc: "The socket that kubelet and crictl talk to.", settings: server },
  log: { doc: "What the daemon says.", settings: log },
  images: { doc: "Where images come from.", settings: images },
  cni: { doc: "The network of pods, by CNI plugins.", settings: cni },
  cdi: { doc: "Devices of vendors, by the Container Device Interface.", settings: cdi },
  runtime: { doc: "How pods and containers are run.", settings: runtime },
  streaming: { doc: "The server behind exec, attach and port-forward.", settings: streaming },
  tuning: { doc: "Measures that only make davit faster or smaller.", settings: tuning },
} as const;

/** What [runtime.handlers] holds before a file is read; a file adds to it and changes it key by key. */
export const builtInHandlers: Readonly<Record<string, Partial<HandlerTable>>> = {
  crun: { path: "crun" },
  runc: { path: "runc" },
};

/** The name in the file for a field of the Config: `maxMessageBytes` is `max_message_bytes`. */
export function tomlKey(field: string): string {
  return field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
