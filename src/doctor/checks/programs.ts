import type { HandlerConfig } from "../../config/config.ts";
import { type Check, firstLine, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { CommandResult, Host } from "../host.ts";
import { type KnownProgram, missingFixes } from "../known-fixes.ts";

const kinds = catalogue("programs", {
  addon: ["ok", ""],
  monitor: ["ok", ""],
  runtime: ["ok", ""],
  "addon-broken": [
    "error",
    "davit serve needs the native addon to mount, create namespaces and start processes",
  ],
  "monitor-missing": ["error", "each container needs its monitor, so none can start"],
  "monitor-broken": ["error", "each container needs its monitor, so none can start"],
  "monitor-old": ["error", "davit passes options to conmon that this version does not support"],
  "default-runtime-missing": ["error", "pods without a RuntimeClass cannot start containers"],
  "runtime-missing": ["warning", "pods of this handler cannot start containers"],
  "runtime-broken": ["error", "pods of this handler cannot start containers"],
  "runtime-old": ["note", "it does not report its features, so davit assumes that it has none"],
  "fix-missing": ["warning", "a container or an image can attack the node through a known defect"],
  "runtime-no-affinity": ["error", "containers of this handler are rejected"],
  "runtime-no-seccomp": [
    "warning",
    "containers with a seccomp profile, including RuntimeDefault, fail to start",
  ],
});

/** The options that davit passes to conmon and that old versions lack. */
const monitorOptions = ["--full-attach", "--no-sync-log", "--exit-dir", "--sync"];

/** The programs that davit starts, except CNI plugins. */
export const programsCheck: Check = {
  group: kinds.group,
  title: "Programs",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { host, config } = context;
    const { defaultHandler, handlers, monitor, monitorPath } = config.runtime;
    const withPath = Object.entries(handlers).filter(([, { path }]) => path !== "");
    return [
      ...(await examineAddon(host)),
      ...(await (monitor === "davit" ? examineOwn(host) : examineConmon(host, monitorPath))),
      ...(
        await Promise.all(
          withPath.map(([name, handler]) =>
            examineRuntime(host, name, handler, name === defaultHandler),
          ),
        )
      ).flat(),
    ];
  },
};

async function examineAddon(host: Host): Promise<readonly Finding[]> {
  const problem = await host.probeAddon();
  if (problem === undefined) return [kinds.report("addon", "the addon loads and works")];
  return [
    kinds.report("addon-broken", problem, "install davit again, or sh scripts/build-native.sh"),
  ];
}

async function examineOwn(host: Host): Promise<readonly Finding[]> {
  const problem = await host.probeMonitor();
  if (problem === undefined) return [kinds.report("monitor", "davit-monitor starts")];
  const fix =
    'install davit again, or sh scripts/build-native.sh; until then, runtime.monitor = "conmon"';
  return [kinds.report("monitor-broken", problem, fix)];
}

async function examineConmon(host: Host, path: string): Promise<readonly Finding[]> {
  const fix = 'apt-get install conmon, or set "runtime.monitor_path"';
  const file = host.findProgram(path);
  if (file === undefined) {
    return [kinds.report("monitor-missing", `${path} not found in ${host.searchPath}`, fix)];
  }
  const version = await host.runCommand(file, ["--version"]);
  if (version.code !== 0) {
    return [kinds.report("monitor-broken", `${file} --version: ${failure(version)}`, fix)];
  }
  const help = await host.runCommand(file, ["--help"]);
  const unknown = monitorOptions.filter((option) => !help.stdout.includes(option));
  const text = `${firstLine(version.stdout)} (${file})`;
  if (unknown.length === 0) {
    return [kinds.report("monitor", text), ...reportMissingFixes("conmon", text, version.stdout)];
  }
  const newer = "install conmon 2.1 or newer";
  return [kinds.report("monitor-old", `${text} does not support ${unknown.join(", ")}`, newer)];
}

async function examineRuntime(
  host: Host,
  name: string,
  { path, execCpuAffinity }: HandlerConfig,
  isDefault: boolean,
): Promise<readonly Finding[]> {
  const fix = `install it, or set runtime.handlers.${name}.path`;
  const file = host.findProgram(path);
  if (file === undefined) {
    const text = `handler "${name}": ${path} not found in ${host.searchPath}`;
    return [kinds.report(isDefault ? "default-runtime-missing" : "runtime-missing", text, fix)];
  }
  const version = await host.runCommand(file, ["--version"]);
  if (version.code !== 0) {
    const text = `handler "${name}": ${file} --version: ${failure(version)}`;
    return [kinds.report("runtime-broken", text, fix)];
  }
  const text = `handler "${name}": ${firstLine(version.stdout)} (${file})`;
  const features = await host.runCommand(file, ["features"]);
  const seccomp = features.code === 0 ? hasSeccomp(features.stdout) : undefined;
  if (seccomp === undefined) {
    return [kinds.report("runtime-old", text, "install crun 1.8 or runc 1.1, or a newer version")];
  }
  const known = (["crun", "runc"] as const).find((program) => version.stdout.startsWith(program));
  const fixes = [
    ...(known === undefined ? [] : reportMissingFixes(known, text, version.stdout)),
    ...(execCpuAffinity === "" ? [] : await reportAffinity(name, text, features.stdout)),
  ];
  if (seccomp) return [kinds.report("runtime", text), ...fixes];
  const better = "install a build with seccomp support";
  return [kinds.report("runtime-no-seccomp", `${text} is built without seccomp`, better), ...fixes];
}

async function reportAffinity(
  name: string,
  text: string,
  features: string,
): Promise<readonly Finding[]> {
  const { parseFeatures } = await import("../../drivers/oci/index.ts");
  if (
    parseFeatures(JSON.parse(features)).optionalFields?.includes("process.execCPUAffinity") === true
  )
    return [];
  const fix = `install crun 1.19 or runc 1.3, or remove runtime.handlers.${name}.exec_cpu_affinity`;
  return [kinds.report("runtime-no-affinity", `${text} ignores exec_cpu_affinity`, fix)];
}

/** A finding for each known defect of a program; `text` names the program in the report. */
function reportMissingFixes(
  program: KnownProgram,
  text: string,
  versionText: string,
): readonly Finding[] {
  const fix =
    "install a fixed version; distributions may have the fix under an older version number: " +
    `search for the CVE in the changelog of the ${program} package`;
  return missingFixes(program, versionText).map((defect) =>
    kinds.report("fix-missing", `${text} lacks the fix for ${defect}`, fix),
  );
}

/** Reads the JSON of `features` (OCI runtime spec, features.md); undefined when it is malformed. */
function hasSeccomp(json: string): boolean | undefined {
  try {
    const features = JSON.parse(json) as {
      readonly linux?: { readonly seccomp?: { readonly enabled?: boolean } };
    } | null;
    return features?.linux?.seccomp?.enabled === true;
  } catch {
    return undefined;
  }
}

function failure({ code, stderr }: CommandResult): string {
  const reason = firstLine(stderr);
  return reason === "" ? `exited with ${code ?? "a signal"}` : reason;
}
