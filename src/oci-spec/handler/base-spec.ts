import { messageOf, RuntimeError } from "../../base/errors.ts";
import type {
  OciDevice,
  OciDeviceRule,
  OciHooks,
  OciLinux,
  OciMount,
  OciProcess,
  OciResources,
  OciRlimit,
  OciSpec,
} from "../../core/oci/index.ts";

type Table = Readonly<Record<string, unknown>>;

/** A spec that the node's owner wrote for a handler's containers to begin with. */
export interface BaseSpec {
  readonly process?: Partial<OciProcess> & Table;
  readonly mounts?: readonly OciMount[];
  readonly annotations?: Readonly<Record<string, string>>;
  readonly hooks?: OciHooks;
  readonly linux?: Partial<OciLinux> & Table;
}

/** Reads a base spec. `failed-precondition` naming the file for what is none. */
export function parseBaseSpec(text: string, file: string): BaseSpec {
  let why = "it is not a JSON object";
  try {
    const json = JSON.parse(text, exactNumbers) as unknown;
    if (isTable(json) && Object.entries(shapes).every(([key, is]) => is(json[key]))) {
      return json;
    }
    if (isTable(json))
      why = `one of ${Object.keys(shapes).join(", ")} does not have the form of config.md`;
  } catch (error) {
    why = messageOf(error);
  }
  throw new RuntimeError(
    "failed-precondition",
    `read base_runtime_spec "${file}": ${why}; fix it, or take it out of the handler`,
  );
}

const shapes: Readonly<Record<string, (json: unknown) => boolean>> = {
  process: isTableOrAbsent,
  mounts: (json) =>
    json === undefined ||
    (Array.isArray(json) && json.every((each) => isTable(each) && "destination" in each)),
  annotations: isTableOrAbsent,
  hooks: isTableOrAbsent,
  linux: isTableOrAbsent,
};

/** Numbers above 2^53, as memory limits can be, keep their digits. */
function exactNumbers(
  _key: string,
  value: unknown,
  context?: { readonly source?: string },
): unknown {
  const isRounded = typeof value === "number" && !Number.isSafeInteger(value);
  const source = context?.source ?? "";
  return isRounded && /^-?\d+$/.test(source) ? BigInt(source) : value;
}

function isTable(json: unknown): json is Table {
  return typeof json === "object" && json !== null && !Array.isArray(json);
}

function isTableOrAbsent(json: unknown): boolean {
  return json === undefined || isTable(json);
}

/**
 * A spec based on the one of its handler; docs/handlers.md has the rules. What
 * belongs to the request, to its pod and to the container's isolation is the spec's alone.
 */
export function withBase(spec: OciSpec, base: BaseSpec): OciSpec {
  return {
    ...spec,
    ...others(base, ["ociVersion", "root", "hostname", "domainname"], spec),
    process: withBaseProcess(spec.process, base.process ?? {}),
    mounts: withBaseMounts(spec.mounts, base.mounts ?? []),
    annotations: { ...base.annotations, ...spec.annotations },
    linux: withBaseLinux(spec.linux, base.linux ?? {}),
    ...(base.hooks === undefined ? {} : { hooks: base.hooks }),
  };
}

/** Fields that davit does not set itself, as sysctl and personality. */
function others(base: object, never: readonly string[], spec: object): Table {
  return Object.fromEntries(
    Object.entries(base).filter(([key]) => !never.includes(key) && !(key in spec)),
  );
}

/** Of a process, what the request decides, also where it decides to have none. */
const requestsOfProcess = [
  ...["terminal", "consoleSize", "user", "args", "commandLine", "cwd", "capabilities"],
  ...["noNewPrivileges", "oomScoreAdj", "apparmorProfile", "selinuxLabel"],
];

function withBaseProcess(process: OciProcess, base: Partial<OciProcess> & Table): OciProcess {
  const rlimits = new Map<string, OciRlimit>();
  for (const limit of [...(base.rlimits ?? []), ...(process.rlimits ?? [])]) {
    rlimits.set(limit.type, limit);
  }
  const keys = new Set(process.env.map(keyOf));
  return {
    ...process,
    ...others(base, requestsOfProcess, process),
    env: [...(base.env ?? []).filter((line) => !keys.has(keyOf(line))), ...process.env],
    ...(rlimits.size === 0 ? {} : { rlimits: [...rlimits.values()] }),
  };
}

function keyOf(line: string): string {
  return line.split("=", 1)[0] ?? "";
}

/**
 * The base's replace those of the kernel's file systems; they are replaced by those of the request and
 * the pod's own files.
 */
function withBaseMounts(
  mounts: readonly OciMount[],
  base: readonly OciMount[],
): readonly OciMount[] {
  const isBind = ({ type }: OciMount): boolean => type === "bind";
  const binds = mounts.filter(isBind);
  const taken = new Set(binds.map(({ destination }) => destination));
  const free = new Map(
    base
      .filter(({ destination }) => !taken.has(destination))
      .map((each) => [each.destination, each]),
  );
  const kernel = mounts
    .filter((mount) => !isBind(mount))
    .map((mount) => {
      const own = free.get(mount.destination) ?? mount;
      free.delete(mount.destination);
      return own;
    });
  return [...kernel, ...free.values(), ...binds];
}

/** Of Linux, what the pod, the request and the isolation decide, also where that is to have none. */
const requestsOfLinux = [
  ...["namespaces", "cgroupsPath", "uidMappings", "gidMappings", "seccomp", "maskedPaths"],
  ...["readonlyPaths", "mountLabel"],
];

function withBaseLinux(linux: OciLinux, base: Partial<OciLinux> & Table): OciLinux {
  const paths = new Set(linux.devices?.map(({ path }) => path));
  const devices: readonly OciDevice[] = [
    ...(base.devices ?? []).filter(({ path }) => !paths.has(path)),
    ...(linux.devices ?? []),
  ];
  return {
    ...linux,
    ...others(base, requestsOfLinux, linux),
    resources: withBaseResources(linux.resources, base.resources ?? {}),
    ...(devices.length === 0 ? {} : { devices }),
  };
}

function withBaseResources(resources: OciResources, base: OciResources): OciResources {
  const { cpu, memory, hugepageLimits = [], unified } = resources;
  const sizes = new Set(hugepageLimits.map(({ pageSize }) => pageSize));
  const pages = [
    ...(base.hugepageLimits ?? []).filter(({ pageSize }) => !sizes.has(pageSize)),
    ...hugepageLimits,
  ];
  const merged = {
    // Ours begin by denying all, or by allowing all.
    devices: [...(resources.devices ?? []), ...(base.devices ?? []).filter(isAllowed)],
    cpu: { ...base.cpu, ...cpu },
    // A memory limit of the request brings its own swap limit.
    memory: memory === undefined ? base.memory : { ...withoutLimits(base.memory), ...memory },
    hugepageLimits: pages,
    unified: { ...base.unified, ...unified },
  };
  return {
    ...base,
    ...resources,
    ...Object.fromEntries(
      Object.entries(merged).filter(
        ([, value]) => value !== undefined && Object.keys(value).length > 0,
      ),
    ),
  };
}

function isAllowed({ allow }: OciDeviceRule): boolean {
  return allow;
}

function withoutLimits(memory: OciResources["memory"]): object {
  const { limit: _limit, swap: _swap, ...rest } = memory ?? {};
  return rest;
}
