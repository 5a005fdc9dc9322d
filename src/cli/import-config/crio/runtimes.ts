import { toml } from "../../../config/format.ts";
import type { Draft } from "../draft.ts";
import type { NodeFiles } from "../node-files.ts";
import type { Given, Settings } from "../settings.ts";
import { pathsOf, textsOf } from "../values.ts";

const base = ["crio", "runtime", "runtimes"] as const;
const defaultHooks = "/usr/share/containers/oci/hooks.d";

/** What CRI-O's own annotations do, which davit does not read. */
const annotations: readonly (readonly [pattern: RegExp, reason: string])[] = [
  [
    /^userns-mode|\.userns-mode$/i,
    'use hostUsers: false in pods, or runtime.user_namespaces = "auto"',
  ],
  [/^shm-size|\.ShmSize$/, "mount an emptyDir with medium: Memory at /dev/shm"],
  [/^devices\.crio|\.Devices$/, "use a device plugin, or CDI devices"],
  [/unified-?cgroup/i, "an NRI plugin can set unified"],
  [/cgroup2-mount-hierarchy-rw/, "set cgroup_writable of a handler"],
  [/link-?logs/i, "davit makes no links to logs"],
  [/seccomp-profile/, "name a profile in securityContext, with type Localhost"],
  [/seccomp-?notifier/i, "davit has no such notifier for annotations"],
  [/umask/i, "set it in the container's command"],
  [/disable-?fips/i, "davit does not set FIPS mode in containers"],
  [/pod-linux-overhead|pod-linux-resources/i, "kubelet sends overhead and resources of pods"],
  [/platform-runtime-path/i, "davit takes the runtime of this node's platform"],
  [
    /(cpu|irq)-(load-balancing|quota|shared|c-states|freq-governor)/,
    "davit has no such tuning of CPUs: an NRI plugin can do it",
  ],
  [/rdt-class|blockio/i, "davit reads this annotation by itself, see docs/resources.md"],
];

/** Handlers, with what is for all handlers in CRI-O, and the cgroup driver. */
export function importRuntimes(settings: Settings, files: NodeFiles, draft: Draft): void {
  const configured = settings.names(...base);
  const name = settings.text("crio", "runtime", "default_runtime");
  const names = [...new Set([...configured, ...(name === "" ? ["crun"] : [name])])];
  for (const handler of configured) importRuntime(settings, draft, handler);
  importCgroupManager(settings, draft);
  importHooks(settings, files, draft, names);
  const seccomp = settings.get("crio", "runtime", "seccomp_profile");
  if (seccomp === undefined || seccomp.value === "") return;
  for (const handler of names) {
    if (settings.text(...base, handler, "seccomp_profile") !== "") continue;
    draft.set(["runtime", "handlers", handler, "seccomp_profile"], seccomp.value, seccomp.origin);
  }
}

function importCgroupManager(settings: Settings, draft: Draft): void {
  const given = settings.get("crio", "runtime", "cgroup_manager");
  const origin = given?.origin ?? { file: "CRI-O", key: "its default cgroup_manager" };
  draft.set(["runtime", "cgroup_driver"], given?.value ?? "systemd", origin);
}

function importHooks(
  settings: Settings,
  files: NodeFiles,
  draft: Draft,
  handlers: readonly string[],
): void {
  const given = settings.get("crio", "runtime", "hooks_dir");
  const directories = given === undefined ? [defaultHooks] : (pathsOf(given.value) ?? []);
  const isUsed = (directory: string): boolean =>
    files.list(directory).some((name) => name.endsWith(".json"));
  const [used, ...others] = directories.filter(isUsed);
  const origin = given?.origin ?? { file: defaultHooks, key: "CRI-O reads it by default" };
  for (const directory of others) {
    draft.note(
      { value: directory, origin },
      `davit reads one directory: copy the hooks to ${used ?? ""}`,
    );
  }
  if (used === undefined) return;
  for (const name of handlers) {
    if (settings.text(...base, name, "runtime_type") === "vm") continue;
    draft.set(["runtime", "handlers", name, "hooks_dir"], used, origin);
  }
}

const architectures: Readonly<Record<string, string>> = { x64: "amd64" };

function importRuntime(settings: Settings, draft: Draft, name: string): void {
  const inherits = settings.get(...base, name, "inherit_default_runtime")?.value === true;
  const from = inherits ? settings.text("crio", "runtime", "default_runtime") || "crun" : name;
  const type = settings.text(...base, from, "runtime_type");
  if (type === "vm") importShim(settings, draft, name, from);
  else importOci(settings, draft, name, from);
  for (const given of settings.below(...base, name)) importKey(given, draft, name);
}

function importShim(settings: Settings, draft: Draft, name: string, from: string): void {
  const path = settings.get(...base, from, "runtime_path");
  if (path === undefined) return;
  const set = (key: string, value: unknown, origin: Given["origin"], ...more: string[]): void =>
    draft.set(["runtime", "handlers", name, key], value, origin, ...more);
  set("runtime_type", path.value, path.origin);
  set("controller", "shim", path.origin, "the shim must serve containerd's sandbox API");
  const config = settings.get(...base, from, "runtime_config_path");
  if (config !== undefined && config.value !== "") {
    set("options", { ConfigPath: config.value }, config.origin);
  }
}

function importOci(settings: Settings, draft: Draft, name: string, from: string): void {
  const key = ["runtime", "handlers", name, "path"];
  const platform = `linux/${architectures[process.arch] ?? process.arch}`;
  const given =
    settings.get(...base, from, "platform_runtime_paths", platform) ??
    settings.get(...base, from, "runtime_path");
  if (given !== undefined && given.value !== "") {
    draft.set(key, given.value, given.origin);
    return;
  }
  // CRI-O searches the name of the handler on PATH.
  const [first] = settings.below(...base, name);
  if (first !== undefined) draft.set(key, from, first.origin);
}

/** The keys of a handler that do not decide what its program is. */
const handlerKeys: Readonly<Record<string, (given: Given, draft: Draft, name: string) => void>> = {
  privileged_without_host_devices: setAs("privileged_without_host_devices"),
  seccomp_profile: setAs("seccomp_profile"),
  exec_cpu_affinity: setAs("exec_cpu_affinity"),
  container_create_timeout: (given, draft, name) => {
    if (given.value !== 240n) setAs("create_timeout_seconds")(given, draft, name);
  },
  monitor_path: ({ value, origin }, draft) => {
    if (value !== "") draft.set(["runtime", "monitor_path"], value, origin);
  },
  runtime_type: (given, draft) => {
    if (given.value === "pod")
      draft.note(given, "davit runs a monitor of its own, not conmon-rs, for each container");
  },
  default_annotations: importDefaultAnnotation,
  allowed_annotations: importAnnotations,
};

function setAs(key: string): (given: Given, draft: Draft, name: string) => void {
  return ({ value, origin }, draft, name) =>
    draft.set(["runtime", "handlers", name, key], value, origin);
}

function importKey(given: Given, draft: Draft, name: string): void {
  const key = given.path[base.length + 1] ?? "";
  const apply = Object.hasOwn(handlerKeys, key) ? handlerKeys[key] : undefined;
  if (apply !== undefined) apply(given, draft, name);
  else if (!["[]", '""', "false", "0"].includes(toml(given.value))) noteKey(given, draft, key);
}

const reasons: Readonly<Record<string, string>> = {
  runtime_root: "davit keeps the state of OCI runtimes in its state directory",
  monitor_cgroup: "the monitor of a container is in the cgroup of davit",
  monitor_exec_cgroup: "davit runs commands in the cgroup of their container",
  monitor_env: "davit runs the monitor without variables of the node",
  container_min_memory:
    "davit leaves a limit that is too low to the OCI runtime, whose error names it",
  no_sync_log: "davit does not wait for the disk when a log is rotated",
  runtime_pull_image: "davit pulls the images of all handlers",
  stream_websockets: "davit always serves WebSockets and SPDY",
};

/** What importRuntime() reads itself. */
const readElsewhere = [
  "runtime_path",
  "runtime_config_path",
  "platform_runtime_paths",
  "inherit_default_runtime",
];

function noteKey(given: Given, draft: Draft, key: string): void {
  if (readElsewhere.includes(key)) return;
  if (key === "runtime_root" && /^\/run\/\w+$/.test(String(given.value))) return;
  if (key === "monitor_cgroup" && ["pod", "system.slice"].includes(String(given.value))) return;
  if (key === "monitor_env") {
    draft.noteKey(given.origin, reasons[key] ?? "");
    return;
  }
  draft.note(
    given,
    reasons[key] ?? "this key of CRI-O is not known here; davit has no counterpart",
  );
}

function importDefaultAnnotation({ path, value, origin }: Given, draft: Draft, name: string): void {
  const key = ["runtime", "handlers", name, "default_annotations"];
  const before = draft.get(key) as object | undefined;
  draft.set(key, { ...before, [path.at(-1) ?? ""]: value }, origin);
}

function importAnnotations({ value, origin }: Given, draft: Draft, name: string): void {
  const passed: string[] = [];
  for (const key of textsOf(value)) {
    const reason = annotations.find(([pattern]) => pattern.test(key))?.[1];
    if (reason === undefined) passed.push(key);
    else draft.note({ value: key, origin }, reason);
  }
  if (passed.length === 0) return;
  const patterns = passed.map((key) => (/[*?[]/.test(key) ? key : `${key}*`));
  for (const ours of ["pod_annotations", "container_annotations"]) {
    draft.set(["runtime", "handlers", name, ours], patterns, origin);
  }
}
