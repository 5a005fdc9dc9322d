import type { Draft } from "../draft.ts";
import { converted, none, quiet, type Rule, same, samePath, special } from "../rules.ts";
import type { Given } from "../settings.ts";
import { bytesOf, integerOf, pathsOf, secondsOf, textsOf } from "../values.ts";
import { runtimeRules } from "./runtime-rules.ts";

const noPause =
  "davit has no pause container, with or without a PID namespace that containers share";
const ownStore =
  "davit has layers of its own, and reads nothing of containers/storage: take over images with davit migrate";
const socketOnly = "kubelet and crictl need the path of davit's socket, server.listen";
const oneNetwork =
  "davit uses the first configuration of cni.conf_dir in lexical order: rename the files";

const storage: readonly Rule[] = [
  none("crio.root", ownStore, "/var/lib/containers/storage", ""),
  none("crio.runroot", ownStore, "/run/containers/storage", "/var/run/containers/storage", ""),
  none("crio.imagestore", "davit keeps images and writable layers apart with writable_root", ""),
  none(
    "crio.storage_driver",
    "davit mounts layers with overlayfs, see images.layer_format",
    "overlay",
    "",
  ),
  special("crio.storage_option", storageOptions),
  none("crio.log_dir", "kubelet names the directory of each pod's logs", "/var/log/crio/pods", ""),
  none(
    "crio.version_file",
    "davit keeps images over updates, and pods over restarts",
    "/var/run/crio/version",
    "/var/lib/crio/version",
    "",
  ),
  none("crio.version_file_persist", "davit keeps images over updates", "/var/lib/crio/version", ""),
  none(
    "crio.clean_shutdown_file",
    "davit syncs layers before it uses them: davit images check tells what is broken",
    "/var/lib/crio/clean.shutdown",
    "",
  ),
  none("crio.internal_wipe", "davit removes what a reboot has ended by itself", true),
  none("crio.internal_repair", "davit images check --repair does that", true, false),
];

const api: readonly Rule[] = [
  none("crio.api.listen", socketOnly, "/var/run/crio/crio.sock", "/run/crio/crio.sock"),
  same("crio.api.stream_address", "streaming.address", "127.0.0.1", ""),
  converted("crio.api.stream_port", "streaming.port", integerOf, "0", ""),
  same("crio.api.stream_enable_tls", "streaming.tls", false),
  same("crio.api.stream_tls_cert", "streaming.tls_cert_file", ""),
  same("crio.api.stream_tls_key", "streaming.tls_key_file", ""),
  none(
    "crio.api.stream_tls_ca",
    "davit asks clients for no certificate: the address of a stream has a token that is valid once",
  ),
  converted(
    "crio.api.stream_idle_timeout",
    "streaming.idle_timeout_seconds",
    secondsOf,
    "",
    "4h",
    "4h0m0s",
  ),
  none("crio.api.tls_min_version", "davit accepts TLS 1.2 and 1.3", "VersionTLS12", ""),
  none("crio.api.tls_cipher_suites", "davit uses the cipher suites of Node.js"),
  special("crio.api.grpc_max_send_msg_size", messageBytes, 83_886_080n, 0n),
  special("crio.api.grpc_max_recv_msg_size", messageBytes, 83_886_080n, 0n),
];

const images: readonly Rule[] = [
  none("crio.image.default_transport", "davit pulls from registries", "docker://"),
  samePath("crio.image.global_auth_file", "images.docker_config", ""),
  none(
    "crio.image.namespaced_auth_dir",
    "kubelet sends the credentials of each namespace: imagePullSecrets",
    "/etc/crio/auth",
    "",
  ),
  special("crio.image.pause_image", pauseImage),
  none("crio.image.pause_image_auth_file", noPause),
  none("crio.image.pause_command", noPause, "/pause", ""),
  special("crio.image.pinned_images", pinnedImages),
  samePath(
    "crio.image.signature_policy",
    "images.verification.policy_json",
    "",
    "/etc/containers/policy.json",
  ),
  samePath(
    "crio.image.signature_policy_dir",
    "images.verification.policy_json_directory",
    "/etc/crio/policies",
    "",
  ),
  special("crio.image.insecure_registries", insecureRegistries),
  converted("crio.image.image_volumes", "images.volumes", imageVolumes, "mkdir", ""),
  none(
    "crio.image.big_files_temporary_dir",
    "davit keeps what it downloads in root: put that on a disk with space",
  ),
  none(
    "crio.image.auto_reload_registries",
    "davit reads registries.conf at each pull",
    true,
    false,
  ),
  none(
    "crio.image.pull_progress_timeout",
    "a pull fails when its registry sends nothing for a while, without a setting",
    "0s",
    "10s",
  ),
  none("crio.image.oci_artifact_mount_support", "davit mounts artifacts as image volumes", true),
  none(
    "crio.image.short_name_mode",
    "davit rejects short names that several registries could have",
    "enforcing",
  ),
  none("crio.image.registries", "put them into unqualified-search-registries of registries.conf"),
  none("crio.image.separate_pull_cgroup", "davit's unpackers are in the cgroup of the daemon"),
];

const others: readonly Rule[] = [
  none("crio.network.cni_default_network", oneNetwork),
  samePath("crio.network.network_dir", "cni.conf_dir", "/etc/cni/net.d/", "/etc/cni/net.d", ""),
  special(
    "crio.network.plugin_dir",
    ({ value, origin }, draft) => pluginDirs([value], origin, draft),
    "",
    "/opt/cni/bin/",
  ),
  special(
    "crio.network.plugin_dirs",
    ({ value, origin }, draft) => pluginDirs(value, origin, draft),
    [],
    ["/opt/cni/bin/"],
  ),
  none("crio.network.cni_status_grace_period", "davit reports the network as it is", "0s"),
  // By runtimes.ts.
  quiet("crio.metrics.enable_metrics"),
  quiet("crio.metrics.metrics_host"),
  quiet("crio.metrics.metrics_port"),
  quiet("crio.metrics.metrics_socket"),
  none(
    "crio.metrics.metrics_cert",
    "davit serves metrics without TLS: keep metrics.listen on 127.0.0.1 or a socket",
  ),
  none(
    "crio.metrics.metrics_key",
    "davit serves metrics without TLS: keep metrics.listen on 127.0.0.1 or a socket",
  ),
  quiet("crio.metrics.metrics_collectors"),
  quiet("crio.tracing.enable_tracing"),
  quiet("crio.tracing.tracing_endpoint"),
  quiet("crio.tracing.tracing_sampling_rate_per_million"),
  none("crio.stats.**", "davit reads usage when kubelet asks, so there is nothing to set"),
  same("crio.nri.enable_nri", "nri.enable", true),
  samePath("crio.nri.nri_listen", "nri.socket_path", "/var/run/nri/nri.sock", ""),
  samePath("crio.nri.nri_plugin_dir", "nri.plugin_path", "/opt/nri/plugins", ""),
  samePath("crio.nri.nri_plugin_config_dir", "nri.plugin_config_path", "/etc/nri/conf.d", ""),
  converted(
    "crio.nri.nri_plugin_registration_timeout",
    "nri.plugin_registration_timeout",
    secondsOf,
    "5s",
  ),
  converted("crio.nri.nri_plugin_request_timeout", "nri.plugin_request_timeout", secondsOf, "2s"),
  same("crio.nri.nri_disable_connections", "nri.disable_connections", false),
  special("crio.nri.default_validator.*", validator),
];

/** All rules for crio.conf. The first one that is for a key counts. */
export const crioRules: readonly Rule[] = [
  ...storage,
  ...api,
  ...runtimeRules,
  ...images,
  ...others,
];

/** `davit` has one limit of the writable layer, and it is that of overlay.size. */
function storageOptions({ value, origin }: Given, draft: Draft): void {
  for (const option of textsOf(value)) {
    const [key = "", size = ""] = option.split("=", 2);
    const bytes = /^(overlay|overlay2|devicemapper)\.(size|basesize)$/.test(key)
      ? bytesOf(size)
      : undefined;
    if (bytes === undefined) draft.note({ value: option, origin }, ownStore);
    else draft.set(["runtime", "writable_layer_limit"], bytes, origin);
  }
}

function messageBytes({ value, origin }: Given, draft: Draft): void {
  const path = ["server", "max_message_bytes"];
  const bytes = integerOf(value) ?? 0n;
  const before = draft.get(path);
  if (typeof before === "bigint" && before >= bytes) return;
  draft.set(path, bytes, origin, "davit has one limit for requests and responses");
}

/** The default changes with each release of CRI-O; only one of another registry was chosen. */
function pauseImage(given: Given, draft: Draft): void {
  if (String(given.value).startsWith("registry.k8s.io/pause:")) return;
  draft.note(given, noPause);
}

function pinnedImages({ value, origin }: Given, draft: Draft): void {
  const [patterns, names] = [true, false].map((isPattern) =>
    textsOf(value).filter((name) => name.includes("*") === isPattern),
  );
  if (names !== undefined && names.length > 0) draft.set(["images", "pinned"], names, origin);
  if (patterns === undefined || patterns.length === 0) return;
  draft.note({ value: patterns, origin }, "davit pins images by their names: write the names");
}

function insecureRegistries({ value, origin }: Given, draft: Draft): void {
  for (const name of textsOf(value)) {
    const text =
      name.includes("/") && /\/\d+$/.test(name) ? "name each registry of that network" : "";
    const block = `put into registries.conf: [[registry]] location = "${name}" insecure = true`;
    draft.note(
      { value: name, origin },
      text === "" ? block : `${text} in registries.conf, with insecure = true`,
    );
  }
}

function imageVolumes(value: unknown): string | undefined {
  if (value === "ignore") return "ignore";
  return value === "bind" || value === "mkdir" ? "copy" : undefined;
}

function pluginDirs(value: unknown, origin: Given["origin"], draft: Draft): void {
  const paths = pathsOf(value);
  const known = ["/opt/cni/bin", "/usr/lib/cni"];
  if (paths === undefined) {
    draft.note({ value, origin }, "the value is not understood");
    return;
  }
  if (paths.every((path) => path === "" || known.includes(path))) return;
  const before = textsOf(draft.get(["cni", "bin_dirs"]));
  draft.set(["cni", "bin_dirs"], [...new Set([...before, ...paths])], origin);
}

function validator({ path, value, origin }: Given, draft: Draft): void {
  const key = (path.at(-1) ?? "").replace(/^nri_(validator_)?/, "");
  const ours = key === "enable_default_validator" ? "enable" : key;
  draft.set(["nri", "default_validator", ours], value, origin);
}
