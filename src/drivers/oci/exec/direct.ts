import { existsSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";

import type { OciCapabilities, OciProcess } from "../../../core/oci/index.ts";
import { isScope } from "../../../core/sandbox/index.ts";
import { type CgroupLayout, cgroupDirs, controllerDir } from "../../../linux/cgroup/index.ts";
import type { ExecPlan, ProcessRef } from "../../../linux/process/index.ts";
import { linuxCapabilities } from "../../../oci-spec/index.ts";
import type { RuntimeState } from "../runtime-state.ts";

/** A container whose commands davit can run by its own program, which does what `crun exec` does (docs/decisions/0032-exec.md). */
export interface DirectContainer {
  readonly init: ExecPlan["init"];
  readonly freezerFile: string;
  readonly filterFile: string | undefined;
  /** The container's cgroup in each hierarchy. */
  readonly cgroupDirs: readonly string[];
  readonly version: CgroupLayout["version"];
  readonly oomScoreAdj: number | undefined;
}

/** The files of one command. */
export interface DirectFiles {
  readonly pidFile: string;
  /** The command's own cgroup, on v2. */
  readonly groupDir: string | undefined;
}

/** The parts of crun's `config.json` that decide. crun wrote it, in a directory that only root can enter. */
interface CreatedSpec {
  readonly annotations?: Readonly<Record<string, string>>;
  readonly process?: {
    readonly oomScoreAdj?: number;
    readonly apparmorProfile?: string;
    readonly selinuxLabel?: string;
  };
  readonly linux?: {
    readonly namespaces?: readonly { readonly type: string }[];
    readonly seccomp?: { readonly flags?: unknown; readonly listenerPath?: string };
    readonly personality?: unknown;
    readonly intelRdt?: unknown;
  };
}

/** Of crun's `status`. */
interface CreatedStatus {
  readonly pid?: unknown;
  readonly "cgroup-path"?: unknown;
}

const defaultUmask = 0o022;
const maxGroups = 1024;
const maxCgroups = 32;

/** As in include/uapi/asm-generic/resource.h, which x86-64 and arm64 use. */
const resources: readonly string[] = [
  ...["RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_DATA", "RLIMIT_STACK", "RLIMIT_CORE", "RLIMIT_RSS"],
  ...["RLIMIT_NPROC", "RLIMIT_NOFILE", "RLIMIT_MEMLOCK", "RLIMIT_AS", "RLIMIT_LOCKS"],
  ...["RLIMIT_SIGPENDING", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_RTPRIO", "RLIMIT_RTTIME"],
];

/**
 * What davit's own program needs to know of a container, read once. Undefined for a container that has anything whose steps
 * only its runtime does: another runtime than crun, a user namespace, a label of AppArmor or SELinux, a seccomp notifier or
 * flags, a personality, a class of RDT, or an annotation that changes what crun does.
 */
export function directContainer(
  container: { readonly id: string; readonly state: RuntimeState; readonly process: ProcessRef },
  runtimeRoot: string,
  layout: CgroupLayout,
): DirectContainer | undefined {
  const { id, process } = container;
  const { runtimePath, cgroupPath } = container.state;
  // In the cgroup of a scope on v1, systemd and crun need not use the same hierarchies.
  if (basename(runtimePath) !== "crun" || (isScope(cgroupPath) && layout.version === "v1")) {
    return undefined;
  }
  const directory = join(runtimeRoot, id);
  const spec = readJson(join(directory, "config.json")) as CreatedSpec | undefined;
  const status = readJson(join(directory, "status")) as CreatedStatus | undefined;
  if (spec === undefined || !isPlain(spec)) return undefined;
  if (status?.["cgroup-path"] !== cgroupPath || status.pid !== process.pid) return undefined;
  const filterFile = spec.linux?.seccomp === undefined ? undefined : join(directory, "seccomp.bpf");
  if (filterFile !== undefined && !existsSync(filterFile)) return undefined;
  const cgroups = cgroupsOf(layout, cgroupPath);
  if (cgroups === undefined) return undefined;
  return {
    ...cgroups,
    init: { pid: process.pid, startTime: process.startTime },
    filterFile,
    version: layout.version,
    oomScoreAdj: spec.process?.oomScoreAdj,
  };
}

/** Undefined where a command could not be moved into all of them, or where it cannot be seen whether they are frozen. */
function cgroupsOf(
  layout: CgroupLayout,
  path: string,
): Pick<DirectContainer, "freezerFile" | "cgroupDirs"> | undefined {
  const freezerFile = freezerFileOf(layout, path);
  const dirs = cgroupDirs(layout, path).filter((dir) => existsSync(dir));
  if (freezerFile === undefined || dirs.length === 0 || dirs.length > maxCgroups) return undefined;
  return { freezerFile, cgroupDirs: dirs };
}

/** The plan for a command; undefined for one that has anything whose steps only the runtime does. */
export function directPlan(
  container: DirectContainer,
  spec: OciProcess,
  files: DirectFiles,
): ExecPlan | undefined {
  const { user, args, env, cwd, rlimits = [] } = spec;
  const oomScoreAdj = spec.oomScoreAdj ?? container.oomScoreAdj;
  const groups = user.additionalGids ?? [];
  const capabilities = masksOf(spec.capabilities);
  const limits = rlimits.map(({ type, soft, hard }) => ({
    resource: resources.indexOf(type),
    soft,
    hard,
  }));
  if (!isPlainProcess(spec) || capabilities === undefined || oomScoreAdj === undefined) {
    return undefined;
  }
  const texts = [cwd, ...args, ...env];
  if (
    groups.length > maxGroups ||
    texts.some((text) => text.includes("\0") || !text.isWellFormed())
  )
    return undefined;
  if (limits.some(({ resource }) => resource < 0)) return undefined;
  const { version, cgroupDirs: dirs } = container;
  if (version === "v2" && files.groupDir === undefined) return undefined;
  return {
    init: container.init,
    pidFile: files.pidFile,
    freezerFile: container.freezerFile,
    filterFile: container.filterFile,
    cgroups:
      files.groupDir === undefined
        ? { version: "v1", procsFiles: dirs.map((dir) => `${dir}/cgroup.procs`) }
        : { version: "v2", directory: files.groupDir },
    user: user.uid,
    group: user.gid,
    groups,
    umask: defaultUmask,
    noNewPrivileges: spec.noNewPrivileges === true,
    oomScoreAdj,
    capabilities,
    limits,
    directory: cwd,
    args,
  };
}

/**
 * The variables as an object, in their order; undefined where an object cannot have them so: one without a name or "=", a
 * name that is there twice, or a number, which JavaScript moves to the front.
 */
export function environmentObject(
  env: readonly string[],
): Readonly<Record<string, string>> | undefined {
  const found = new Map<string, string>();
  for (const variable of env) {
    const at = variable.indexOf("=");
    const name = variable.slice(0, at);
    if (at <= 0 || found.has(name) || /^\d+$/.test(name)) return undefined;
    found.set(name, variable.slice(at + 1));
  }
  // crun gives a command without variables those of the container.
  return found.size === 0 ? undefined : Object.fromEntries(found);
}

function isPlain({ annotations = {}, process = {}, linux = {} }: CreatedSpec): boolean {
  const types = new Set((linux.namespaces ?? []).map(({ type }) => type));
  const { flags, listenerPath } = linux.seccomp ?? {};
  const absent = [flags, listenerPath, linux.personality, linux.intelRdt];
  return (
    types.has("pid") &&
    types.has("mount") &&
    !types.has("user") &&
    !types.has("time") &&
    !hasText(process.apparmorProfile) &&
    !hasText(process.selinuxLabel) &&
    absent.every((value) => value === undefined) &&
    !Object.keys(annotations).some((name) => /^(run\.oci\.|module\.wasm)/.test(name))
  );
}

function isPlainProcess(spec: OciProcess): boolean {
  return (
    spec.terminal !== true &&
    spec.args.length > 0 &&
    spec.cwd.startsWith("/") &&
    !hasText(spec.apparmorProfile) &&
    !hasText(spec.selinuxLabel) &&
    spec.scheduler === undefined &&
    spec.ioPriority === undefined &&
    spec.execCPUAffinity === undefined
  );
}

function hasText(text: string | undefined): boolean {
  return text !== undefined && text !== "";
}

/** Undefined if a name is unknown: crun warns of it. */
function masksOf(capabilities: OciCapabilities | undefined): ExecPlan["capabilities"] | undefined {
  // crun gives a command without them those of the container.
  if (capabilities === undefined) return undefined;
  const { bounding, effective, permitted, inheritable = [], ambient = [] } = capabilities;
  const sets = [bounding, effective, permitted, inheritable, ambient];
  if (sets.flat().some((name) => !linuxCapabilities.includes(name))) return undefined;
  return {
    bounding: maskOf(bounding),
    effective: maskOf(effective),
    permitted: maskOf(permitted),
    inheritable: maskOf(inheritable),
    ambient: maskOf(ambient),
  };
}

function maskOf(names: readonly string[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(linuxCapabilities.indexOf(name))), 0n);
}

function freezerFileOf(layout: CgroupLayout, path: string): string | undefined {
  if (layout.version === "v2") return `${cgroupDirs(layout, path)[0]}/cgroup.freeze`;
  const directory = controllerDir(layout, "freezer", path);
  return directory && `${directory}/freezer.state`;
}

/** Undefined when the file does not exist or is not JSON. */
function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}
