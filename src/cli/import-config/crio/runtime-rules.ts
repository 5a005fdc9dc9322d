import type { Draft } from "../draft.ts";
import { converted, none, quiet, type Rule, same, samePath, secret, special } from "../rules.ts";
import type { Given } from "../settings.ts";
import { logLevelOf, pathsOf, textsOf } from "../values.ts";

const noPause =
  "davit has no pause container, with or without a PID namespace that containers share";
const kubelet = "kubelet decides it: set";
const inBaseSpec = "put it into a base_runtime_spec, see above";
const ownStore = "davit reads nothing of containers/storage: load archives with images.preload_dir";

/** The rules for the table crio.runtime, and for checkpoints. */
export const runtimeRules: readonly Rule[] = [
  same("crio.runtime.default_runtime", "runtime.default_handler", ""),
  same("crio.runtime.selinux", "runtime.selinux", false),
  samePath(
    "crio.runtime.decryption_keys_path",
    "images.decryption_keys_path",
    "/etc/crio/keys/",
    "",
  ),
  samePath("crio.runtime.conmon", "runtime.monitor_path", ""),
  samePath("crio.runtime.blockio_config_file", "runtime.blockio_config_file", ""),
  samePath("crio.runtime.rdt_config_file", "runtime.rdt_config_file", ""),
  converted(
    "crio.runtime.cdi_spec_dirs",
    "cdi.spec_dirs",
    pathsOf,
    ["/etc/cdi", "/var/run/cdi"],
    [],
  ),
  same(
    "crio.runtime.device_ownership_from_security_context",
    "runtime.device_ownership_from_security_context",
    false,
  ),
  converted("crio.runtime.log_level", "log.level", logLevelOf, "info", ""),
  none("crio.runtime.log_filter", "filter the log where it is read: it is JSON lines"),
  none(
    "crio.runtime.conmon_cgroup",
    "the monitor of a container is in the cgroup of davit",
    "",
    "pod",
    "system.slice",
  ),
  none("crio.runtime.conmon_env", "davit runs the monitor without variables of the node"),
  none("crio.runtime.no_pivot", "davit's runtimes use pivot_root"),
  none("crio.runtime.drop_infra_ctr", noPause, true),
  none(
    "crio.runtime.manage_ns_lifecycle",
    "davit always pins the namespaces of a pod itself",
    true,
    false,
  ),
  none(
    "crio.runtime.manage_network_ns_lifecycle",
    "davit always pins the namespaces of a pod itself",
    true,
    false,
  ),
  none("crio.runtime.infra_ctr_cpuset", "there is no infra container; the holder of a pod sleeps"),
  none("crio.runtime.shared_cpuset", "davit has no shared CPUs: an NRI plugin can set cpusets"),
  none("crio.runtime.read_only", "set readOnlyRootFilesystem in pods, or by admission"),
  secret(
    "crio.runtime.default_env",
    "set them in pods, or as process.env of a base_runtime_spec (docs/handlers.md)",
  ),
  none(
    "crio.runtime.min_injected_gomaxprocs",
    "set GOMAXPROCS in pods; Go 1.25 and later reads limits itself",
  ),
  special("crio.runtime.default_sysctls", defaultSysctls),
  special("crio.runtime.default_ulimits", defaultUlimits),
  special("crio.runtime.pids_limit", pidsLimit, -1n, 0n),
  converted("crio.runtime.log_size_max", "runtime.log_size_max", logSize, -1n),
  none(
    "crio.runtime.log_to_journald",
    "davit writes the log files that kubelet reads; a log collector can read them",
  ),
  none(
    "crio.runtime.default_capabilities",
    "davit gives containers the capabilities of containerd and Docker, and what securityContext adds: drop what is too many in pods",
    ...capabilities(),
  ),
  none(
    "crio.runtime.add_inheritable_capabilities",
    "davit sets only those that a pod gets as ambient (CVE-2022-24769)",
  ),
  none(
    "crio.runtime.allowed_devices",
    "use a device plugin, or CDI devices",
    ["/dev/fuse", "/dev/net/tun"],
    ["/dev/fuse"],
    [],
  ),
  none(
    "crio.runtime.additional_devices",
    "use a device plugin or CDI devices, or linux.devices of a base_runtime_spec (docs/handlers.md)",
  ),
  none("crio.runtime.additional_artifact_stores", ownStore),
  none("crio.runtime.privileged_seccomp_profile", "privileged containers have no seccomp filter"),
  none(
    "crio.runtime.apparmor_profile",
    "davit has a default profile of its own, davit-default; a pod can name another one with type Localhost",
    "",
    "crio-default",
  ),
  none("crio.runtime.blockio_reload", "davit reads the file again when it has changed"),
  none(
    "crio.runtime.irqbalance_config_file",
    "davit does not change irqbalance: an NRI plugin can",
    "/etc/sysconfig/irqbalance",
    "",
  ),
  none(
    "crio.runtime.irqbalance_config_restore_file",
    "davit does not change irqbalance",
    "/etc/sysconfig/orig_irq_banned_cpus",
    "",
    "disable",
  ),
  none(
    "crio.runtime.default_mounts_file",
    "mount what each container needs with mounts of a base_runtime_spec (docs/handlers.md)",
  ),
  none(
    "crio.runtime.default_mounts",
    "mount what each container needs with mounts of a base_runtime_spec (docs/handlers.md)",
  ),
  none(
    "crio.runtime.container_exits_dir",
    "davit has a state directory of its own",
    "/var/run/crio/exits",
    "",
  ),
  none(
    "crio.runtime.container_attach_socket_dir",
    "davit has a state directory of its own",
    "/var/run/crio",
    "",
  ),
  none("crio.runtime.namespaces_dir", "davit has a state directory of its own", "/var/run", ""),
  none("crio.runtime.pinns_path", "davit pins namespaces itself"),
  none("crio.runtime.bind_mount_prefix", "davit runs on the node, not in a container"),
  ...["uid_mappings", "gid_mappings"].map((key) =>
    none(
      `crio.runtime.${key}`,
      'use hostUsers: false in pods, or runtime.user_namespaces = "auto" with user_namespace_first_id',
    ),
  ),
  none(
    "crio.runtime.minimum_mappable_uid",
    "kubelet chooses the ids of pods with hostUsers: false",
    -1n,
  ),
  none(
    "crio.runtime.minimum_mappable_gid",
    "kubelet chooses the ids of pods with hostUsers: false",
    -1n,
  ),
  none(
    "crio.runtime.ctr_stop_timeout",
    "kubelet sends the grace period of each pod; davit waits for it, then kills",
    30n,
  ),
  none("crio.runtime.separate_pull_cgroup", "davit's unpackers are in the cgroup of the daemon"),
  none(
    "crio.runtime.absent_mount_sources_to_reject",
    "davit creates a missing source of a mount as a directory: give hostPath volumes a type that must exist, such as Directory",
  ),
  none("crio.runtime.enable_pod_events", "davit always serves GetContainerEvents", true, false),
  none(
    "crio.runtime.hostnetwork_disable_selinux",
    "davit labels pods on the network of the node as others: use the type spc_t where that is in the way",
    true,
  ),
  none(
    "crio.runtime.disable_hostport_mapping",
    "remove the plugin portmap from the CNI configuration",
  ),
  none("crio.runtime.timezone", "set TZ in pods"),
  none(
    "crio.runtime.enable_criu_support",
    "davit captures containers where criu is installed, see docs/checkpoints.md",
    true,
  ),
  none(
    "crio.checkpoint_restore.container_level_enabled",
    "davit captures containers where criu is installed, and checkpoint.restore_containers allows restores",
    "checkpoint_restore",
    "none",
  ),
  none(
    "crio.runtime.workloads.**",
    "davit has no workloads: set resources in pods, or with an NRI plugin",
  ),
  // By runtimes.ts.
  quiet("crio.runtime.cgroup_manager"),
  quiet("crio.runtime.hooks_dir"),
  quiet("crio.runtime.seccomp_profile"),
  quiet("crio.runtime.runtimes.**"),
];

/** CRI-O has no limit for a negative one. */
function logSize(value: unknown): unknown {
  return typeof value === "bigint" && value < 0n ? 0n : value;
}

function capabilities(): readonly unknown[] {
  const usual = ["CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "SETGID", "SETUID", "SETPCAP"];
  return [[...usual, "NET_BIND_SERVICE", "KILL"], []];
}

function defaultSysctls(given: Given, draft: Draft): void {
  const pairs = textsOf(given.value).map((text) => text.split("=").map((part) => part.trim()));
  // davit sets it for all pods.
  const wanted = pairs.filter(([key = ""]) => key !== "net.ipv4.ping_group_range" && key !== "");
  if (wanted.length === 0) return;
  const sysctl = Object.fromEntries(wanted.map(([key = "", value = ""]) => [key, value]));
  draft.baseSpec.push({ origin: given.origin, linux: { sysctl } });
  draft.note(given, inBaseSpec);
}

function defaultUlimits(given: Given, draft: Draft): void {
  const rlimits = textsOf(given.value).flatMap((text) => {
    const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text.trim());
    if (match === null) return [];
    const [, name = "", soft = "", hard = soft] = match;
    return [{ type: `RLIMIT_${name.toUpperCase()}`, soft: Number(soft), hard: Number(hard) }];
  });
  const limited = rlimits.filter(({ soft, hard }) => soft >= 0 && hard >= 0);
  if (limited.length > 0) {
    draft.baseSpec.push({ origin: given.origin, process: { rlimits: limited } });
  }
  const unlimited = rlimits
    .filter((limit) => !limited.includes(limit))
    .map(({ type }) => type.slice(7));
  const units = unlimited.map((name) => `Limit${name}=infinity`).join(" ");
  const inUnit =
    units === "" ? "" : `; ${units} in the unit of davit, from which containers inherit it`;
  draft.note(given, limited.length > 0 ? `${inBaseSpec}${inUnit}` : `set ${inUnit.slice(2)}`);
}

function pidsLimit(given: Given, draft: Draft): void {
  draft.note(given, `${kubelet} podPidsLimit in its configuration, which is for the whole pod`);
}
