import type { Draft } from "../draft.ts";
import { converted, none, quiet, type Rule, same, samePath, secret, special } from "../rules.ts";
import type { Given } from "../settings.ts";
import { integerOf, pathsOf, secondsOf, textsOf } from "../values.ts";

const noPause = "davit has no pause container, so it needs no image for one";
const oneNetwork =
  "davit uses the first configuration of the directory; combine networks with Multus";
const usage = "davit reads usage when kubelet asks, so there is nothing to set";
const ownLayers = "davit has one way to store layers, see images.layer_format";
const socketOnly = "davit listens on a unix socket only";
const unpacked = "davit keeps no blobs of unpacked layers";

/** The rules for the CRI plugin; its tables in version 3 and 4 have the names of those in version 2. */
export const criRules: readonly Rule[] = [
  special("plugins.cri.sandbox_image", pauseImage),
  special("plugins.cri.pinned_images.sandbox", pauseImage),
  special("plugins.cri.pinned_images.*", pinnedImage),
  same("plugins.cri.max_concurrent_downloads", "images.max_concurrent_downloads", 3n),
  none(
    "plugins.cri.concurrent_layer_fetch_buffer",
    "davit fetches large layers in parts: images.concurrent_ranges",
  ),
  none(
    "plugins.cri.image_pull_progress_timeout",
    "a pull of davit fails when its registry sends nothing for a while, without a setting",
    "5m0s",
    "1m0s",
    "0s",
  ),
  none("plugins.cri.image_pull_with_sync_fs", "davit syncs each layer before it is used"),
  none("plugins.cri.use_local_image_pull", "davit has one way to pull"),
  none("plugins.cri.snapshotter", ownLayers, "overlayfs", ""),
  none("plugins.cri.containerd.snapshotter", ownLayers, "overlayfs", ""),
  none("plugins.cri.runtime_platforms.**", "davit pulls the platform of the node for all handlers"),
  none(
    "plugins.cri.disable_snapshot_annotations",
    "davit has no snapshotters that read them",
    true,
  ),
  none(
    "plugins.cri.containerd.disable_snapshot_annotations",
    "davit has no snapshotters that read them",
    true,
  ),
  none("plugins.cri.discard_unpacked_layers", unpacked),
  none("plugins.cri.containerd.discard_unpacked_layers", unpacked),
  none(
    "plugins.cri.image_decryption.key_model",
    "davit decrypts with the keys of the node, if images.decryption_keys_path is set",
    "node",
    "",
  ),
  none("plugins.cri.stats_collect_period", usage, 10n, "1s"),
  none("plugins.cri.stats_retention_period", usage, "2m", "2m0s"),
  none("plugins.cri.disable_tcp_service", socketOnly, true),
  same("plugins.cri.stream_server_address", "streaming.address", "", "127.0.0.1"),
  converted("plugins.cri.stream_server_port", "streaming.port", integerOf, "0", ""),
  converted(
    "plugins.cri.stream_idle_timeout",
    "streaming.idle_timeout_seconds",
    secondsOf,
    "4h",
    "4h0m0s",
  ),
  same("plugins.cri.enable_tls_streaming", "streaming.tls", false),
  same("plugins.cri.x509_key_pair_streaming.tls_cert_file", "streaming.tls_cert_file", ""),
  same("plugins.cri.x509_key_pair_streaming.tls_key_file", "streaming.tls_key_file", ""),
  same("plugins.cri.enable_selinux", "runtime.selinux", false),
  none("plugins.cri.selinux_category_range", "davit uses all 1024 categories", 1024n, 0n),
  none(
    "plugins.cri.max_container_log_line_size",
    "davit cuts lines after 16 KiB, and kubelet joins the parts",
    16_384n,
  ),
  none("plugins.cri.disable_cgroup", "davit needs cgroups"),
  none(
    "plugins.cri.disable_apparmor",
    "davit uses AppArmor where it is enabled; a pod can ask for Unconfined",
  ),
  none(
    "plugins.cri.restrict_oom_score_adj",
    "davit lowers scores only as far as the kernel allows, without a setting",
  ),
  none(
    "plugins.cri.disable_proc_mount",
    "davit supports procMount; admission decides who may use it",
  ),
  none(
    "plugins.cri.unset_seccomp_profile",
    "set seccompDefault: true in kubelet's configuration, so that pods without a profile get RuntimeDefault",
  ),
  none(
    "plugins.cri.tolerate_missing_hugetlb_controller",
    "davit rejects limits of huge pages where the controller is missing",
    true,
  ),
  none(
    "plugins.cri.disable_hugetlb_controller",
    "davit uses the controller where the kernel has it",
    true,
  ),
  same(
    "plugins.cri.device_ownership_from_security_context",
    "runtime.device_ownership_from_security_context",
    false,
  ),
  converted(
    "plugins.cri.ignore_image_defined_volumes",
    "images.volumes",
    (value) => (value === true ? "ignore" : "copy"),
    false,
  ),
  none("plugins.cri.netns_mounts_under_state_dir", "davit keeps namespaces in its state directory"),
  none(
    "plugins.cri.enable_unprivileged_ports",
    "davit sets net.ipv4.ip_unprivileged_port_start=0 for all pods with a network of their own; a pod can set another value with securityContext.sysctls",
    true,
  ),
  none(
    "plugins.cri.enable_unprivileged_icmp",
    "davit sets net.ipv4.ping_group_range for all pods with a network of their own",
    true,
  ),
  // davit's default is true, and so is that of containerd 2. In containerd 1.7 it is false: a device that a
  // pod asks for by CDI is then ignored, which is no reason to reject it here.
  quiet("plugins.cri.enable_cdi"),
  converted("plugins.cri.cdi_spec_dirs", "cdi.spec_dirs", pathsOf, ["/etc/cdi", "/var/run/cdi"]),
  none(
    "plugins.cri.drain_exec_sync_io_timeout",
    "davit ends the whole process tree of a command, so its output ends",
  ),
  none("plugins.cri.ignore_deprecation_warnings", "davit has no such warnings"),
  none(
    "plugins.cri.enable_criu",
    "davit captures containers where criu is installed, see docs/checkpoints.md",
    true,
  ),
  special(
    "plugins.cri.cni.bin_dir",
    ({ value, origin }, draft) => binDirs([value], origin, draft),
    "",
    "/opt/cni/bin",
    "/usr/lib/cni",
  ),
  special(
    "plugins.cri.cni.bin_dirs",
    ({ value, origin }, draft) => binDirs(value, origin, draft),
    ["/opt/cni/bin"],
    ["/usr/lib/cni"],
    [],
  ),
  samePath("plugins.cri.cni.conf_dir", "cni.conf_dir", "/etc/cni/net.d", ""),
  none("plugins.cri.cni.max_conf_num", oneNetwork, 1n),
  none("plugins.cri.cni.setup_serially", oneNetwork),
  none(
    "plugins.cri.cni.conf_template",
    "davit makes no CNI configuration: write one into cni.conf_dir, or let the network's DaemonSet do it",
  ),
  none(
    "plugins.cri.cni.ip_pref",
    "davit reports the addresses in the order of the CNI result, IPv4 first",
    "",
    "ipv4",
    "cni",
  ),
  none("plugins.cri.cni.use_internal_loopback", "davit brings up lo itself"),
  same(
    "plugins.cri.containerd.ignore_blockio_not_enabled_errors",
    "runtime.ignore_blockio_not_enabled_errors",
    false,
  ),
  same(
    "plugins.cri.containerd.ignore_rdt_not_enabled_errors",
    "runtime.ignore_rdt_not_enabled_errors",
    false,
  ),
  none("plugins.cri.containerd.no_pivot", "davit's runtimes use pivot_root"),
  none(
    "plugins.cri.containerd.default_runtime.**",
    "containerd no longer reads it: use default_runtime_name",
  ),
  none(
    "plugins.cri.containerd.untrusted_workload_runtime.**",
    "containerd no longer reads it: name a handler in a RuntimeClass",
  ),
  // By runtimes.ts.
  quiet("plugins.cri.systemd_cgroup"),
  quiet("plugins.cri.containerd.default_runtime_name"),
  quiet("plugins.cri.containerd.runtimes.*.runtime_type"),
  quiet("plugins.cri.containerd.runtimes.*.runtime_path"),
  quiet("plugins.cri.containerd.runtimes.*.runtime_engine"),
  quiet("plugins.cri.containerd.runtimes.*.options.**"),
  quiet("plugins.cri.containerd.runtimes.*.sandboxer"),
  quiet("plugins.cri.containerd.runtimes.*.sandbox_mode"),
  quiet("plugins.cri.containerd.runtimes.*.io_type"),
  ...runtimeRules(),
  // By registry.ts.
  quiet("plugins.cri.registry.config_path"),
  quiet("plugins.cri.registry.mirrors.**"),
  quiet("plugins.cri.registry.configs.**"),
  quiet("plugins.cri.registry.auths.**"),
  secret(
    "plugins.cri.registry.headers.**",
    'put it into the hosts.toml of each registry: [host."URL".header]',
  ),
];

function runtimeRules(): readonly Rule[] {
  const from = "plugins.cri.containerd.runtimes.*";
  const equal = (key: string, ...defaults: readonly unknown[]): Rule =>
    same(`${from}.${key}`, `runtime.handlers.*.${key}`, ...defaults);
  return [
    equal("pod_annotations", []),
    equal("container_annotations", []),
    equal("privileged_without_host_devices", false),
    equal("privileged_without_host_devices_all_devices_allowed", false),
    equal("cgroup_writable", false),
    equal("base_runtime_spec", ""),
    samePath(`${from}.cni_conf_dir`, "runtime.handlers.*.cni_conf_dir", "", "/etc/cni/net.d"),
    none(`${from}.cni_max_conf_num`, oneNetwork, 0n, 1n),
    none(`${from}.snapshotter`, ownLayers, "", "overlayfs"),
    none(`${from}.runtime_root`, "davit keeps the state of OCI runtimes in its state directory"),
    none(`${from}.disable_pause_image_pull`, noPause),
  ];
}

/** The default changes with each release of containerd; only one of another registry was chosen. */
function pauseImage(given: Given, draft: Draft): void {
  if (String(given.value).startsWith("registry.k8s.io/pause:")) return;
  draft.note(given, noPause);
}

function pinnedImage({ value, origin }: Given, draft: Draft): void {
  const before = draft.get(["images", "pinned"]);
  draft.set(["images", "pinned"], [...textsOf(before), value], origin);
}

function binDirs(value: unknown, origin: Given["origin"], draft: Draft): void {
  const known = ["/opt/cni/bin", "/usr/lib/cni"];
  const paths = pathsOf(value);
  if (paths === undefined) {
    draft.note({ value, origin }, "the value is not understood");
    return;
  }
  // davit searches both by default.
  if (paths.every((path) => known.includes(path))) return;
  draft.set(["cni", "bin_dirs"], paths, origin);
}
