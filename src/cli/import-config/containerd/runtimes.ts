import type { Draft } from "../draft.ts";
import type { Given, Origin, Settings } from "../settings.ts";

const base = ["plugins", "cri", "containerd"] as const;
const runcTypes =
  /^(io\.containerd\.runc\.v[12]|io\.containerd\.runtime\.v1\.linux)$|\/containerd-shim-runc-v[12]$/;
/** Shims that create the sandbox themselves, and look for a pause container otherwise. */
const sandboxShims = /\b(kata|runsc|kuasar)\b/;

/** Options of runc's shim that have a counterpart, or need none. */
const runcOptions: Readonly<Record<string, string | undefined>> = {
  NoPivotRoot: "davit's runtimes use pivot_root",
  NoNewKeyring: "davit lets the runtime create a keyring for each container",
  ShimCgroup: "there is no shim; the monitor of a container is in the cgroup of davit",
  Root: "davit keeps the state of OCI runtimes in its state directory",
  CriuPath: "the OCI runtime finds criu itself",
  CriuImagePath: "davit keeps checkpoints below its root directory",
  CriuWorkPath: "davit keeps checkpoints below its root directory",
  IoUid: "davit's monitor holds the streams as root",
  IoGid: "davit's monitor holds the streams as root",
};

/** Handlers, the default one, and the cgroup driver. */
export function importRuntimes(settings: Settings, draft: Draft, main: string): void {
  for (const name of settings.names(...base, "runtimes")) importRuntime(settings, draft, name);
  importDefault(settings, draft, main);
}

function importDefault(settings: Settings, draft: Draft, main: string): void {
  const given = settings.get(...base, "default_runtime_name");
  const name = typeof given?.value === "string" && given.value !== "" ? given.value : "runc";
  const origin = given?.origin ?? { file: main, key: "default_runtime_name, containerd's default" };
  const comments = name === "runc" ? ["without this line it is crun, which starts faster"] : [];
  draft.set(["runtime", "default_handler"], name, origin, ...comments);
  importCgroupDriver(settings, draft, name);
}

function importCgroupDriver(settings: Settings, draft: Draft, defaultName: string): void {
  const given = settings
    .names(...base, "runtimes")
    .flatMap((name) => settings.get(...optionPath(name, "SystemdCgroup")) ?? []);
  const ofDefault = settings.get(...optionPath(defaultName, "SystemdCgroup"));
  const whole = settings.get("plugins", "cri", "systemd_cgroup");
  const chosen = [ofDefault, whole].find((each) => each?.value === true) ?? ofDefault;
  if (chosen?.value === true) draft.set(["runtime", "cgroup_driver"], "systemd", chosen.origin);
  for (const other of given.filter(({ value }) => value !== (chosen?.value ?? false))) {
    draft.note(other, "davit has one cgroup driver for all handlers, runtime.cgroup_driver");
  }
}

function importRuntime(settings: Settings, draft: Draft, name: string): void {
  const at = [...base, "runtimes", name];
  const given = settings.get(...at, "runtime_type");
  const type = given?.value === "" || given === undefined ? "io.containerd.runc.v2" : given.value;
  if (typeof type !== "string") return;
  if (runcTypes.test(type)) importRunc(settings, draft, name, given);
  else importShim(settings, draft, { name, type, given });
}

interface Shim {
  readonly name: string;
  readonly type: string;
  readonly given: Given | undefined;
}

function importShim(settings: Settings, draft: Draft, { name, type, given }: Shim): void {
  const at = [...base, "runtimes", name];
  const set = (key: string, value: unknown, origin: Origin, ...comments: string[]): void =>
    draft.set(["runtime", "handlers", name, key], value, origin, ...comments);
  const { origin } = given ?? { origin: { file: "", key: "" } };
  set("runtime_type", type, origin);
  const path = settings.get(...at, "runtime_path");
  if (path !== undefined) set("runtime_path", path.value, path.origin);
  const io = settings.get(...at, "io_type");
  if (io !== undefined && io.value !== "") set("io_type", io.value, io.origin);
  importController(settings, draft, { name, type, given });
  importOptions(settings, draft, name);
}

function importController(settings: Settings, draft: Draft, shim: Shim): void {
  const { name, type } = shim;
  const key = ["runtime", "handlers", name, "controller"];
  const at = [...base, "runtimes", name];
  const given = settings.get(...at, "sandboxer") ?? settings.get(...at, "sandbox_mode");
  if (given?.value === "shim") {
    draft.set(key, "shim", given.origin);
    return;
  }
  if (given !== undefined && given.value !== "podsandbox" && given.value !== "") {
    draft.note(given, 'davit has the sandbox controllers "podsandbox" and "shim"');
  }
  if (!sandboxShims.test(type) || shim.given === undefined) return;
  const comment =
    "this shim expects a pause container with the other controller, and davit has none; the shim must serve the sandbox API";
  draft.set(key, "shim", shim.given.origin, comment);
}

function importOptions(settings: Settings, draft: Draft, name: string): void {
  const at = [...base, "runtimes", name, "options"];
  const all = settings.below(...at).filter(({ path }) => path.length === at.length + 1);
  const set = all.filter(({ value }) => value !== "" && value !== 0n && value !== false);
  const [first] = set;
  if (first === undefined) return;
  const options = Object.fromEntries(set.map(({ path, value }) => [path.at(-1) ?? "", value]));
  draft.set(["runtime", "handlers", name, "options"], options, first.origin);
}

function importRunc(settings: Settings, draft: Draft, name: string, type: Given | undefined): void {
  const at = [...base, "runtimes", name];
  const binary = ["BinaryName", "Runtime"]
    .map((key) => settings.get(...optionPath(name, key)))
    .concat(settings.get(...at, "runtime_engine"))
    .find((given) => given !== undefined && given.value !== "");
  const origin = (binary ?? type)?.origin;
  const key = ["runtime", "handlers", name, "path"];
  if (origin !== undefined) draft.set(key, binary?.value ?? "runc", origin);
  const shim = settings.get(...at, "runtime_path");
  const others = settings.below(...at, "options").concat(shim ?? []);
  for (const given of others.filter(
    ({ value }) => value !== "" && value !== 0n && value !== false,
  )) {
    const option = given.path.at(-1) ?? "";
    if (["BinaryName", "Runtime", "SystemdCgroup"].includes(option)) continue;
    draft.note(given, runcOptions[option] ?? "davit runs the OCI runtime without this shim");
  }
}

function optionPath(name: string, option: string): readonly string[] {
  return [...base, "runtimes", name, "options", option];
}
