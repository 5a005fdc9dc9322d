import type { Draft } from "../draft.ts";
import { converted, none, quiet, type Rule, same, samePath, special } from "../rules.ts";
import type { Given } from "../settings.ts";
import { integerOf, logLevelOf, not, pathOf, secondsOf, textsOf } from "../values.ts";
import { criRules } from "./cri-rules.ts";

const socketOnly = "davit listens on a unix socket only";
const store = "davit's own store has no such setting";

const server: readonly Rule[] = [
  quiet("version"),
  quiet("imports"),
  none(
    "root",
    "davit keeps its data in root, by default /var/lib/davit: choose the disk for it",
    "/var/lib/containerd",
  ),
  none("state", "davit has a state directory of its own: state", "/run/containerd"),
  none("temp", "davit keeps temporary files in root and state"),
  none("plugin_dir", "davit loads no plugins into its process"),
  special("disabled_plugins", disabledPlugins),
  none("required_plugins", "davit has no plugins in its process"),
  none("oom_score", "the unit sets it: OOMScoreAdjust of davit.service"),
  none("cgroup.path", "the unit decides about the cgroup of the daemon"),
  none(
    "timeouts.*",
    "davit has timeouts of its own: runtime.create_timeout_seconds",
    "0s",
    "2s",
    "3s",
    "5s",
  ),
  none(
    "proxy_plugins.**",
    "davit has no plugins for snapshots or content: images are unpacked by davit itself",
  ),
  special("stream_processors.*.args", decryptionKeys),
  none(
    "stream_processors.**",
    "davit decrypts layers itself, with keys of images.decryption_keys_path",
    ...ocicrypt(),
  ),
  none(
    "grpc.address",
    "kubelet and crictl need the path of davit's socket, server.listen",
    "/run/containerd/containerd.sock",
  ),
  none("grpc.uid", "davit's socket belongs to root; server.group lets a group use it"),
  converted("grpc.gid", "server.group", (value) => integerOf(value)?.toString(), 0n),
  special("grpc.max_recv_message_size", largerMessage, 0n, 16_777_216n),
  special("grpc.max_send_message_size", largerMessage, 0n, 16_777_216n),
  none("grpc.**", socketOnly),
  none("grpc-tcp.**", socketOnly, "", 16_777_216n, 0n),
  none(
    "ttrpc.**",
    "davit's shims call a program, and need no such socket",
    "",
    0n,
    "/run/containerd/containerd.sock.ttrpc",
  ),
  converted("debug.level", "log.level", logLevelOf, ""),
  none(
    "debug.format",
    "the log of davit is JSON lines on stderr, or text on a terminal",
    "",
    "text",
    "json",
  ),
  none(
    "debug.**",
    "davit has no debug socket: davit info, davit inflight and davit why show its state",
  ),
  special("metrics.address", metrics),
  none("metrics.**", "davit's metrics have histograms of all calls"),
];

const others: readonly Rule[] = [
  converted("plugins.nri.disable", "nri.enable", not, false),
  ...["socket_path", "plugin_path", "plugin_config_path", "disable_connections"].map((key) =>
    same(
      `plugins.nri.${key}`,
      `nri.${key}`,
      false,
      "/var/run/nri/nri.sock",
      "/opt/nri/plugins",
      "/etc/nri/conf.d",
    ),
  ),
  converted(
    "plugins.nri.plugin_registration_timeout",
    "nri.plugin_registration_timeout",
    secondsOf,
    "5s",
  ),
  converted("plugins.nri.plugin_request_timeout", "nri.plugin_request_timeout", secondsOf, "2s"),
  same("plugins.nri.default_validator.*", "nri.default_validator.*", false, [], ""),
  special("plugins.otlp.endpoint", otlpEndpoint),
  special("plugins.otlp.protocol", otlpProtocol, "", "http/protobuf"),
  none("plugins.otlp.insecure", "the URL of tracing.endpoint says it: http or https"),
  same("plugins.tracing.service_name", "tracing.service_name", "", "containerd"),
  same("plugins.tracing.sampling_ratio", "tracing.sampling_ratio"),
  samePath("plugins.tasks-service.blockio_config_file", "runtime.blockio_config_file", ""),
  samePath("plugins.tasks-service.rdt_config_file", "runtime.rdt_config_file", ""),
  samePath("plugins.bindir.bin_dir", "images.verification.bindir"),
  same("plugins.bindir.max_verifiers", "images.verification.max_verifiers", 10n),
  converted(
    "plugins.bindir.per_verifier_timeout",
    "images.verification.bindir_timeout_seconds",
    secondsOf,
    "10s",
  ),
  same("plugins.transfer.max_concurrent_downloads", "images.max_concurrent_downloads", 3n),
  same("plugins.transfer.max_concurrent_unpacks", "images.max_concurrent_unpacks", 1n, 0n),
  none("plugins.transfer.config_path", "the registries are those of images.registry_config_path"),
  // What unpacks layers, and how many are uploaded.
  quiet("plugins.transfer.**"),
  quiet("plugins.task.platforms"),
  none("plugins.task.**", "davit has no core scheduling"),
  none("plugins.overlayfs.**", store),
  none(
    "plugins.*.**",
    "davit has no plugin of that name, and does its work itself",
    ...pluginDefaults(),
  ),
];

/** All rules for containerd's config.toml. The first one that is for a key counts. */
export const containerdRules: readonly Rule[] = [...server, ...criRules, ...others];

/** What the plugins that davit does not need have by default (containerd 1.7 and 2). */
function pluginDefaults(): readonly unknown[] {
  const texts = ["100ms", "10s", "runc", "containerd-shim", "/opt/containerd", "shared", "0ms"];
  const ratios = [0.02, 100n, 0n, false, "", "0s", [], ["walking"], ["erofs", "walking"]];
  return [...texts, ...ratios];
}

/** The stream processors of `containerd config default`. */
function ocicrypt(): readonly unknown[] {
  const layer = "application/vnd.oci.image.layer.v1.tar";
  return [
    [`${layer}+encrypted`],
    [`${layer}+gzip+encrypted`],
    ["OCICRYPT_KEYPROVIDER_CONFIG=/etc/containerd/ocicrypt/ocicrypt_keyprovider.conf"],
    "ctd-decoder",
    layer,
    `${layer}+gzip`,
  ];
}

function disabledPlugins({ value, origin }: Given, draft: Draft): void {
  const names = textsOf(value);
  if (names.some((name) => name === "cri" || name.endsWith(".cri"))) {
    draft.hints.push(
      `${origin.file} disables containerd's CRI, so kubelet does not use containerd on this node. The settings are imported all the same.`,
    );
  }
  const rest = names.filter((name) => name !== "cri" && !name.endsWith(".cri"));
  if (rest.length > 0) draft.note({ value: rest, origin }, "davit has no plugins to turn off");
}

function decryptionKeys({ value, origin }: Given, draft: Draft): void {
  const words = textsOf(value);
  const directory = pathOf(words[words.indexOf("--decryption-keys-path") + 1]);
  if (directory === undefined || directory === "/etc/containerd/ocicrypt/keys") return;
  draft.set(["images", "decryption_keys_path"], directory, origin);
}

function largerMessage({ value, origin }: Given, draft: Draft): void {
  const path = ["server", "max_message_bytes"];
  const bytes = integerOf(value) ?? 0n;
  const before = draft.get(path);
  if (typeof before === "bigint" && before >= bytes) return;
  draft.set(path, bytes, origin, "davit has one limit for requests and responses");
}

function metrics({ value, origin }: Given, draft: Draft): void {
  const comment = "davit serves /metrics, not /v1/metrics, and its metrics have other names";
  draft.set(["metrics", "listen"], value, origin, comment);
}

function otlpEndpoint({ value, origin }: Given, draft: Draft): void {
  const comment = "davit sends OTLP over HTTP: check the port, usually 4318";
  draft.set(["tracing", "endpoint"], withScheme(value), origin, comment);
}

function withScheme(value: unknown): unknown {
  if (typeof value !== "string" || /^https?:/.test(value)) return value;
  return `http://${value}`;
}

function otlpProtocol(given: Given, draft: Draft): void {
  draft.note(
    given,
    "davit sends OTLP over HTTP: tracing.endpoint needs that port of the collector",
  );
}
