import type { HandlerConfig } from "../../config/config.ts";
import { type Check, firstLine, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { CommandResult, Host } from "../host.ts";
import { type JudgedProgram, missingFixes } from "../known-fixes.ts";

const kinds = catalogue("programs", {
  addon: ["ok", ""],
  monitor: ["ok", ""],
  runtime: ["ok", ""],
  "addon-broken": ["error", "davit serve does its kernel work by the addon beside its program"],
  "monitor-missing": ["error", "each container is watched by conmon: none can start"],
  "monitor-broken": ["error", "each container is watched by conmon: none can start"],
  "monitor-old": ["error", "davit calls conmon with options that this one does not know"],
  "default-runtime-missing": ["error", "pods that name no handler cannot start a container"],
  "runtime-missing": ["warning", "pods of this handler cannot start a container"],
  "runtime-broken": ["error", "pods of this handler cannot start a container"],
  "runtime-old": ["note", "it cannot be asked for its features; davit takes it to have none"],
  "fix-missing": ["warning", "a container or an image can attack the node by a known defect"],
  "runtime-no-seccomp": ["warning", "containers with a seccomp profile, RuntimeDefault too, fail"],
});

/** The options that davit gives conmon beside those that it always had. */
const monitorOptions = ["--full-attach", "--no-sync-log", "--persist-dir", "--exit-dir", "--sync"];

/** The programs that davit starts, but for those of the network. */
export const programsCheck: Check = {
  group: kinds.group,
  title: "Programs",
  catalogue: kinds,
  examine: async (subject: DoctorContext) => {
    const { host, config } = subject;
    const { defaultHandler, handlers, monitorPath } = config.runtime;
    const named = Object.entries(handlers).filter(([, { path }]) => path !== "");
    return [
      ...(await examineAddon(host)),
      ...(await examineMonitor(host, monitorPath)),
      ...(
        await Promise.all(
          named.map(([name, handler]) =>
            examineRuntime(host, name, handler, name === defaultHandler),
          ),
        )
      ).flat(),
    ];
  },
};

async function examineAddon(host: Host): Promise<readonly Finding[]> {
  const problem = await host.tryAddon();
  if (problem === undefined) return [kinds.report("addon", "the addon loads and works")];
  return [
    kinds.report("addon-broken", problem, "install davit again, or sh scripts/build-native.sh"),
  ];
}

async function examineMonitor(host: Host, path: string): Promise<readonly Finding[]> {
  const fix = 'apt-get install conmon, or set "runtime.monitor_path"';
  const file = host.find(path);
  if (file === undefined) {
    return [kinds.report("monitor-missing", `no ${path} in ${host.searchPath}`, fix)];
  }
  const version = await host.command(file, ["--version"]);
  if (version.code !== 0) {
    return [kinds.report("monitor-broken", `${file} --version: ${failure(version)}`, fix)];
  }
  const help = await host.command(file, ["--help"]);
  const unknown = monitorOptions.filter((option) => !help.stdout.includes(option));
  const text = `${firstLine(version.stdout)} (${file})`;
  if (unknown.length === 0) {
    return [kinds.report("monitor", text), ...reportMissingFixes("conmon", text, version.stdout)];
  }
  const newer = "install conmon 2.1 or newer";
  return [kinds.report("monitor-old", `${text} does not know ${unknown.join(", ")}`, newer)];
}

async function examineRuntime(
  host: Host,
  name: string,
  { path }: HandlerConfig,
  isDefault: boolean,
): Promise<readonly Finding[]> {
  const fix = `install it, or set runtime.handlers.${name}.path`;
  const file = host.find(path);
  if (file === undefined) {
    const text = `handler "${name}": no ${path} in ${host.searchPath}`;
    return [kinds.report(isDefault ? "default-runtime-missing" : "runtime-missing", text, fix)];
  }
  const version = await host.command(file, ["--version"]);
  if (version.code !== 0) {
    const text = `handler "${name}": ${file} --version: ${failure(version)}`;
    return [kinds.report("runtime-broken", text, fix)];
  }
  const text = `handler "${name}": ${firstLine(version.stdout)} (${file})`;
  const features = await host.command(file, ["features"]);
  const seccomp = features.code === 0 ? hasSeccomp(features.stdout) : undefined;
  if (seccomp === undefined) {
    return [kinds.report("runtime-old", text, "install crun 1.8, runc 1.1 or newer")];
  }
  const known = (["crun", "runc"] as const).find((program) => version.stdout.startsWith(program));
  const fixes = known === undefined ? [] : reportMissingFixes(known, text, version.stdout);
  if (seccomp) return [kinds.report("runtime", text), ...fixes];
  const better = "install one that was built with seccomp";
  return [
    kinds.report("runtime-no-seccomp", `${text} was built without seccomp`, better),
    ...fixes,
  ];
}

/** A finding for each known defect of a program; `text` names the program for a person. */
function reportMissingFixes(
  program: JudgedProgram,
  text: string,
  versionText: string,
): readonly Finding[] {
  const fix =
    "install a fixed version; a distribution may have the fix under an older version number: " +
    `look for the CVE in the changelog of its ${program} package`;
  return missingFixes(program, versionText).map((defect) =>
    kinds.report("fix-missing", `${text} lacks the fix of ${defect}`, fix),
  );
}

/** From the JSON of `features` (OCI runtime spec, features.md); undefined when it is none. */
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
  const said = firstLine(stderr);
  return said === "" ? `ended with ${code ?? "a signal"}` : said;
}
