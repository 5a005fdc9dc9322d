import { parseConfig } from "../../config/load.ts";
import { hostProvocations } from "./host-provocations.ts";
import {
  criStatus,
  healthyReading,
  healthyNetworkProbe,
  mountEntry,
  succeeded,
  versionOf,
} from "./fixture-host.ts";
import {
  aSocket,
  answer,
  capabilities,
  directory,
  file,
  gib,
  host,
  hybrid,
  kubelet,
  mirror,
  nriFailure,
  mount,
  networkProbe,
  noDaemon,
  noFile,
  nothing,
  processStatus,
  reading,
  refused,
  registry,
  root,
  socket,
  space,
  step,
  unusable,
  upstream,
  usingPlugin,
  withClasses,
  withConmon,
  type Provocation,
} from "./provoke.ts";

/** What causes each finding, by its id. */
export const provocations: Readonly<Record<string, Provocation>> = {
  "configuration.fine": nothing,
  "configuration.invalid": () => ({ configProblems: ["davit.toml:3: unknown key"] }),
  "configuration.root-in-state": (machine) => {
    machine.fileInfos.set("/run/davit/root", directory);
    return { config: parseConfig('root = "/run/davit/root"\n', "davit.toml") };
  },

  "configuration.policy-unusable": file("/etc/containers/policy.json", "{"),
  "configuration.policy-program-missing": file(
    "/etc/containers/policy.json",
    '{"default": [{"type": "signedBy", "keyType": "GPGKeys", "keyData": "a2V5"}]}',
  ),
  "configuration.image-key-unusable": (machine) => {
    machine.imageKeys = { count: 0, problems: [] };
    return { config: parseConfig('[images]\ndecryption_keys_path = "/keys"\n', "davit.toml") };
  },
  "configuration.policy-strict": file(
    "/etc/containers/policy.json",
    '{"default": [{"type": "reject"}]}',
  ),

  "kernel.fine": nothing,
  "kernel.too-old": host((machine) => (machine.kernelRelease = "5.10.0-30-amd64")),
  "kernel.overlay-missing": file("/proc/filesystems", "\text4\n\terofs\n"),
  "kernel.namespaces-missing": host(({ directories }) =>
    directories.set("/proc/self/ns", ["mnt", "pid"]),
  ),
  "kernel.namespaces-few": file("/proc/sys/user/max_net_namespaces", "10\n"),
  "kernel.seccomp-missing": noFile("/proc/sys/kernel/seccomp/actions_avail"),
  "kernel.selinux-missing": () => ({
    config: parseConfig("[runtime]\nselinux = true\n", "davit.toml"),
  }),
  "kernel.apparmor-no-parser": file("/sys/module/apparmor/parameters/enabled", "Y\n"),
  "kernel.userns-off": file("/proc/sys/user/max_user_namespaces", "0\n"),
  "kernel.idmap-missing": host((machine) => (machine.kernelRelease = "5.15.0")),
  "kernel.tmpfs-idmap-missing": host((machine) => (machine.kernelRelease = "6.2.16")),
  "kernel.erofs-missing": file("/proc/filesystems", "nodev\toverlay\n"),
  "kernel.erofs-layers-off": (machine) => {
    machine.kernelRelease = "6.11.0";
    return { config: parseConfig('[images]\nlayer_format = "erofs"\n', "davit.toml") };
  },
  "kernel.pid-max-low": file("/proc/sys/kernel/pid_max", "32768\n"),
  "kernel.inotify-instances-low": file("/proc/sys/fs/inotify/max_user_instances", "128\n"),
  "kernel.inotify-watches-low": file("/proc/sys/fs/inotify/max_user_watches", "8192\n"),

  "capabilities.fine": nothing,
  "capabilities.missing": processStatus("00000000a80425fb"),
  "capabilities.no-sys-resource": processStatus("000001fffeffffff"),
  "capabilities.bounded": processStatus("000000ffffffffff"),
  "capabilities.no-new-privs": processStatus(capabilities, capabilities, 1),

  "cgroups.fine": nothing,
  "cgroups.none": host((machine) => (machine.mountTable = [mountEntry("/", "ext4")])),
  "cgroups.hybrid-controller": hybrid("hugetlb"),
  "cgroups.controller-missing": file("/sys/fs/cgroup/cgroup.controllers", "cpu io pids\n"),
  "cgroups.controller-wanted": hybrid(""),
  "cgroups.not-delegated": host(({ files }) => {
    files.set("/sys/fs/cgroup/cgroup.subtree_control", "\n");
    files.set("/sys/fs/cgroup/cgroup.type", "domain\n");
    files.set("/sys/fs/cgroup/cgroup.procs", "1\n17\n");
  }),
  "cgroups.read-only": host((machine) => {
    const cgroups = mountEntry("/sys/fs/cgroup", "cgroup2", { options: ["ro"] });
    machine.mountTable = [mountEntry("/", "ext4"), cgroups];
  }),
  "cgroups.v1-in-use": hybrid("hugetlb"),
  "cgroups.no-systemd": () => ({
    config: parseConfig('[runtime]\ncgroup_driver = "systemd"\n', "davit.toml"),
  }),
  "cgroups.nsdelegate-missing": () => ({
    config: parseConfig("[runtime.handlers.crun]\ncgroup_writable = true\n", "davit.toml"),
  }),
  "cgroups.kubelet-driver": file(kubelet, "a: b\ncgroupDriver: systemd\n"),

  "classes.fine": nothing,
  "classes.file-unusable": withClasses("blockio", "Classes:\n  gold:\n  - Wieght: 100\n"),
  "classes.blockio-missing": (machine) => {
    machine.files.set("/sys/fs/cgroup/cgroup.controllers", "cpu memory pids\n");
    return withClasses("blockio", "Classes:\n  gold:\n  - Weight: 100\n")(machine);
  },
  "classes.rdt-missing": withClasses("rdt", "partitions: {}\n"),
  "classes.rdt-unsuited": (machine) => {
    machine.mountTable.push(mountEntry("/sys/fs/resctrl", "resctrl"));
    machine.files.set("/sys/fs/resctrl/schemata", "MB:0=100\n");
    const text = "partitions: {p: {l3Allocation: 50%, classes: {gold: {l3Allocation: 50%}}}}\n";
    return withClasses("rdt", text)(machine);
  },

  "nri.fine": nothing,
  "nri.file-refused": host((machine) => {
    machine.directories.set("/opt/nri/plugins", ["topology"]);
    machine.plugins = { names: [], refused: [{ file: "topology", reason: "no index" }] };
  }),

  "programs.addon": nothing,
  "programs.monitor": nothing,
  "programs.runtime": nothing,
  "programs.addon-broken": host((machine) => (machine.addonProblem = "no such file")),
  "programs.monitor-missing": withConmon(({ programs }) => programs.delete("conmon")),
  "programs.monitor-broken": host((machine) => (machine.monitorProblem = "no such file")),
  "programs.monitor-old": withConmon(({ commands }) =>
    commands.set("conmon --help", succeeded("--bundle")),
  ),
  "programs.default-runtime-missing": host(({ programs }) => programs.delete("crun")),
  "programs.runtime-missing": host(({ programs }) => programs.delete("runc")),
  "programs.runtime-broken": host(({ commands }) =>
    commands.set("crun --version", { code: undefined, stdout: "", stderr: "" }),
  ),
  "programs.runtime-old": host(({ commands }) =>
    commands.set("runc features", { code: 1, stdout: "", stderr: "no such command" }),
  ),
  "programs.fix-missing": host(({ commands }) =>
    commands.set("crun --version", succeeded("crun version 1.21\n")),
  ),
  "programs.runtime-no-affinity": (machine) => {
    const features = '{"ociVersionMax":"1.2.0","linux":{"seccomp":{"enabled":true}}}';
    machine.commands.set("runc features", succeeded(features));
    const text = '[runtime.handlers.runc]\nexec_cpu_affinity = "first"\n';
    return { config: parseConfig(text, "davit.toml") };
  },
  "programs.runtime-no-seccomp": host(({ commands }) =>
    commands.set("crun features", succeeded('{"linux":{}}')),
  ),

  ...hostProvocations,

  "mounts.fine": nothing,
  "mounts.root-not-shared": mount("/", "ext4", { propagation: [] }),
  "mounts.namespaces-shared": mount("/run/davit/ns", "tmpfs"),
  "mounts.proc-hidden": mount("/proc", "proc", { superOptions: ["rw", "hidepid=4"] }),
  "mounts.sys-read-only": mount("/sys", "sysfs", { options: ["ro"] }),

  "disk.fine": nothing,
  "disk.directory-missing": host(({ fileInfos }) => fileInfos.delete(root)),
  "disk.not-a-directory": host(({ fileInfos }) =>
    fileInfos.set(root, { ...directory, kind: "file" }),
  ),
  "disk.read-only": mount(root, "ext4", { superOptions: ["ro"] }),
  "disk.full": space(10 * gib, 4096, 900),
  "disk.too-small": space(gib / 20, gib / 20, 900),
  "disk.space-low": space(10 * gib, gib, 900),
  "disk.inodes-low": space(10 * gib, 9 * gib, 2),
  "disk.overlay-refused": host((machine) => (machine.overlayProblem = "EINVAL")),
  "disk.filesystem-unfit": host((machine) => {
    machine.isRoot = false;
    machine.mountTable.push(mountEntry(root, "nfs4"));
  }),
  "disk.no-attributes": host((machine) => (machine.xattrsProblem = "EOPNOTSUPP")),
  "disk.no-file-types": host((machine) => {
    machine.mountTable.push(mountEntry(root, "xfs"));
    machine.programs.add("xfs_info");
    machine.commands.set(`xfs_info ${root}`, succeeded("naming =version 2 ascii-ci=0, ftype=0\n"));
  }),
  "disk.state-on-disk": mount("/run", "ext4"),
  "disk.roots-not-separate": (machine) => {
    machine.fileInfos.set("/var/lib/davit-writable", directory);
    return { config: parseConfig('writable_root = "/var/lib/davit-writable"\n', "davit.toml") };
  },
  "disk.no-project-quotas": () => ({
    config: parseConfig("[runtime]\nwritable_layer_limit = 1048576\n", "davit.toml"),
  }),
  "disk.open-to-others": host(({ fileInfos }) =>
    fileInfos.set(root, { ...directory, mode: 0o777 }),
  ),

  "network.configuration": nothing,
  "network.trial": nothing,
  "network.iptables": nothing,
  "network.no-directory": reading({ directoryExists: false, files: [], network: undefined }),
  "network.no-configuration": reading({ files: [], network: undefined }),
  "network.file-invalid": unusable("parse JSON: Unexpected end"),
  "network.no-valid-file": unusable("parse JSON: Unexpected end"),
  "network.version-unknown": unusable('"cniVersion" must be one of 0.3.0, 1.0.0, got "2.0.0"'),
  "network.file-ignored": reading({
    files: [...healthyReading.files, "/etc/cni/net.d/99-old.conf"],
  }),
  "network.plugin-missing": reading({ missing: ["bridge"] }),
  "network.plugin-fix-missing": host((machine) => {
    usingPlugin("portmap", { backend: "nftables" })(machine);
    machine.programs.add("/opt/cni/bin/portmap");
    machine.commands.set("/opt/cni/bin/portmap", succeeded("CNI portmap plugin v1.7.1\n"));
  }),
  "network.plugin-replaced": host((machine) => {
    machine.programs.add("/opt/cni/bin/bridge");
    machine.commands.set("/opt/cni/bin/bridge", succeeded("our own bridge\n"));
  }),
  "network.plugin-not-ready": step("STATUS", "no addresses"),
  "network.add-failed": step("ADD", "no IP addresses available in range set"),
  "network.plugin-hangs": step("ADD", "did not end within 10 s", true),
  "network.no-address": networkProbe({ ips: [] }),
  "network.del-failed": step("DEL", "the firewall is gone"),
  "network.left-behind": networkProbe({ left: ["after DEL the namespace still has eth0"] }),
  "network.reservation-without-owner": host((machine) => {
    const made = { "10.1.0.7": "", "10.1.0.8": "0123\r\neth0", "last_reserved_ip.0": "", lock: "" };
    const at = "/var/lib/cni/networks/pods";
    machine.directories.set(at, Object.keys(made));
    for (const [name, text] of Object.entries(made)) machine.files.set(`${at}/${name}`, text);
  }),
  "network.forwarding-off": file("/proc/sys/net/ipv4/ip_forward", "0\n"),
  "network.forwarding-later": host((machine) => {
    machine.files.set("/proc/sys/net/ipv4/ip_forward", "0\n");
    machine.networkProbe = { ...healthyNetworkProbe, turnsForwardingOn: ["ipv4"] };
  }),
  "network.forwarding6-off": networkProbe({ ips: ["10.1.0.2", "fd00::2"] }),
  "network.bridge-skips-iptables": noFile("/proc/sys/net/bridge/bridge-nf-call-iptables"),
  "network.iptables-missing": host((machine) => {
    machine.programs.delete("iptables");
    usingPlugin("bridge", { ipMasq: true })(machine);
  }),
  "network.iptables-broken": host((machine) => (machine.iptablesProblem = "No chain by that name")),

  "sockets.davit": nothing,
  "sockets.crictl": nothing,
  "sockets.absent": host((machine) => {
    noDaemon(machine);
    // As after a crash: the pid belongs to a process that locks a file of its own.
    machine.files.set("/run/davit/davit.lock", "77\n");
    machine.fileInfos.set("/run/davit/davit.lock", { ...directory, kind: "file", inode: 3n });
    machine.pids.add(77);
  }),
  "sockets.stale": host(({ probes }) => probes.set(socket, "refused")),
  "sockets.not-a-socket": host(({ fileInfos }) =>
    fileInfos.set(socket, { ...directory, kind: "file" }),
  ),
  "sockets.denied": host(({ probes }) => probes.set(socket, "denied")),
  "sockets.silent": host((machine) => (machine.cri = { error: "no answer within 5000 ms" })),
  "sockets.other-server": host((machine) => (machine.cri = { version: versionOf("containerd") })),
  "sockets.daemon-unreachable": host((machine) => {
    noDaemon(machine);
    machine.files.set("/run/davit/davit.lock", "77\n");
    machine.pids.add(77);
  }),
  "sockets.open-to-group": () => ({ config: parseConfig("[server]\ngroup = 0\n", "davit.toml") }),
  "sockets.open-to-others": host(({ fileInfos }) =>
    fileInfos.set(socket, { ...aSocket, mode: 0o666 }),
  ),
  "sockets.other-runtime": host(({ fileInfos, probes }) => {
    fileInfos.set("/run/containerd/containerd.sock", aSocket);
    probes.set("/run/containerd/containerd.sock", "open");
  }),
  "sockets.cadvisor": host((machine) => {
    machine.fileInfos.set("/run/containerd/containerd.sock", aSocket);
    machine.probes.set("/run/containerd/containerd.sock", "open");
    machine.cri = criStatus({
      cadvisor: { socket: "/run/containerd/containerd.sock", served: true },
    });
  }),
  "sockets.crictl-elsewhere": file(
    "/etc/crictl.yaml",
    'runtime-endpoint: "unix:///run/crio/crio.sock"\n',
  ),
  "sockets.crictl-unset": noFile("/etc/crictl.yaml"),
  "sockets.kubelet-elsewhere": file(
    kubelet,
    "containerRuntimeEndpoint: unix:///run/containerd/containerd.sock\n",
  ),

  "daemon.fine": nothing,
  "daemon.recovering": host((machine) => {
    machine.cri = { version: versionOf("davit"), error: "not ready", recovering: true };
  }),
  "daemon.not-ready": answer({}, [{ type: "RuntimeReady", status: false }]),
  "daemon.network-not-ready": answer({}, [
    { type: "NetworkReady", status: false, message: "no file" },
  ]),
  "daemon.cadvisor-not-served": answer({
    cadvisor: { socket: "/run/containerd/containerd.sock", served: false, reason: "in use" },
  }),
  "daemon.nri-plugins": answer({ nri: { plugins: [{ name: "10-topology" }], failures: [] } }),
  "daemon.nri-plugin-lost": nriFailure({ event: "CreateContainer", container: "c", dropped: true }),
  "daemon.nri-plugin-refused": nriFailure({ event: "RunPodSandbox", sandbox: "p", dropped: false }),
  "daemon.nri-not-listening": answer({
    nri: { socket: "/var/run/nri/nri.sock", plugins: [], failures: [], notListening: "in use" },
  }),
  "daemon.layer-verity-off": answer({
    layerFormat: "erofs",
    layerVerity: "the disk has no verity",
  }),
  "daemon.records-set-aside": answer({
    recordsSetAside: [{ kind: "sandbox", id: "a", reason: "cut off" }],
  }),
  "daemon.records-owed": answer({ recordsOwed: ['container "a"'] }),
  "daemon.records-unwritable": answer({ recordsCanBeWritten: false }),
  "daemon.requests-failed": (machine) => {
    const startedMs = machine.timeMs - 60_000;
    const failure = { operation: "run-pod-sandbox", subject: "a", startedMs, error: "no address" };
    machine.cri = criStatus({ lastFailures: [failure] });
    return undefined;
  },
  "daemon.ends-failed": answer({
    failedEnds: [{ subject: "sandbox a", tries: 3, since: "2026-05-31", lastError: "state D" }],
  }),
  "daemon.network-removals-pending": answer({
    pendingNetworkRemovals: [{ sandboxId: "a", tries: 4 }],
  }),
  "daemon.removals-unfinished": answer({ unfinishedRemovals: ["a", "b", "c", "d"] }),
  "daemon.request-stuck": answer({
    inflight: [{ operation: "run-pod-sandbox", subject: "a", stage: "add-network", ageMs: 3e5 }],
  }),
  "daemon.other-version": () => ({ version: "0.2.0" }),
  "daemon.configuration-changed": () => ({
    config: parseConfig("[cni]\nmax_parallel = 3\n", "davit.toml"),
  }),

  "leftovers.fine": nothing,
  "leftovers.stale-namespaces": host((machine) => {
    noDaemon(machine);
    machine.directories.set("/run/davit/ns/net", ["a"]);
  }),
  "leftovers.pods-without-daemon": host((machine) => {
    noDaemon(machine);
    machine.directories.set("/run/davit/ns/net", ["a"]);
    machine.mountTable.push(mountEntry("/run/davit/ns/net/a", "nsfs"));
  }),
  "leftovers.previous-boot": host((machine) => {
    noDaemon(machine);
    machine.fileInfos.set("/run/davit/davit.lock", { ...directory, kind: "file" });
  }),
  "leftovers.doctor-scratch": host((machine) => {
    machine.directories.set("/tmp", ["davit-doctor-4242-abc", "other"]);
    machine.mountTable.push(mountEntry("/tmp/davit-doctor-4242-abc/ns", "tmpfs"));
  }),

  "registries.reachable": () => ({ probeRegistries: true }),
  "registries.image-found": () => ({ images: ["busybox"] }),
  "registries.file-invalid": (machine) => {
    machine.registry = { ...machine.registry, hosts: [], error: 'read "hosts.toml": key x' };
    return { probeRegistries: true };
  },
  "registries.host-unreachable": registry({ root: upstream, ...refused }),
  "registries.mirror-unreachable": registry(
    { root: mirror, ...refused },
    { root: upstream, ms: 1, status: 200 },
  ),
  "registries.name-unknown": registry({ root: upstream, ms: 1, error: "?", problem: "name" }),
  "registries.certificate-untrusted": registry({
    root: upstream,
    ms: 1,
    error: "has a certificate that is not trusted",
    problem: "certificate",
  }),
  "registries.server-error": registry({ root: upstream, ms: 1, status: 503 }),
  "registries.slow": registry({ root: upstream, ms: 4000, status: 200 }),
  "registries.proxied": (machine) => {
    machine.env = { HTTPS_PROXY: "http://user:secret@proxy:3128" };
    return { probeRegistries: true };
  },
  "registries.image-missing": (machine) => {
    machine.image = { image: "nope", ms: 3, error: "answered 404" };
    return { images: ["nope"] };
  },
};
