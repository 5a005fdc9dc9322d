import { hasNsdelegate } from "../../linux/cgroup/index.ts";
import type { MountEntry } from "../../linux/mount/index.ts";
import { systemdDirectory } from "../../linux/host/index.ts";
import { type Check, firstLine, type DoctorContext, wordsOf } from "../check.ts";
import { catalogue, type Finding, type Fix } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("cgroups", {
  fine: ["ok", ""],
  none: ["error", "davit needs cgroups to limit, measure and stop containers"],
  "hybrid-controller": [
    "error",
    'crun does not start containers ("drop all controllers from cgroupv2") on a host that has ' +
      "v1 hierarchies while a controller is available in v2",
  ],
  "controller-missing": ["error", "containers with limits that need the controller do not start"],
  "controller-wanted": ["note", "limits and statistics that need the controller are not available"],
  "not-delegated": [
    "error",
    "the cgroups of pods get no controllers: v2 enables none below a cgroup that contains processes",
  ],
  "read-only": ["error", "davit cannot create cgroups for pods"],
  "v1-in-use": ["note", "cgroup v1 works, but systemd and Kubernetes are removing support for it"],
  "no-systemd": ["error", "davit serve does not start with the systemd cgroup driver on this host"],
  "nsdelegate-missing": [
    "error",
    "containers of a handler with cgroup_writable are rejected: they could change their own limits",
  ],
  "kubelet-driver": ["error", "kubelet and davit must use the same cgroup driver"],
});

/** Controllers by their names in v2. */
const needed = ["cpu", "memory", "pids"];
const useful = ["cpuset", "io", "hugetlb"];

const directory = "/sys/fs/cgroup";

/** How cgroups are mounted, which controllers exist and where they are enabled. */
export const cgroupsCheck: Check = {
  group: kinds.group,
  title: "Control groups",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { host } = context;
    const mounts = await host.mounts();
    const unified = mounts.find(({ fsType }) => fsType === "cgroup2");
    const legacy = mounts.filter(({ fsType }) => fsType === "cgroup");
    const isV1 = legacy.some(({ superOptions }) => superOptions.some(isController));
    const driver = [
      ...(await checkKubeletDriver(context)),
      ...(await checkSystemd(context)),
      ...checkNsdelegate(context, mounts, isV1),
    ];
    if (!isV1 && unified === undefined) {
      const fix = `mount -t cgroup2 cgroup2 ${directory}`;
      return [kinds.report("none", "no cgroups are mounted", fix), ...driver];
    }
    const found = [
      ...(isV1
        ? await examineV1(host, legacy, unified)
        : await examineV2(host, unified?.mountPoint ?? directory)),
      ...checkReadOnly([...legacy, ...(unified === undefined ? [] : [unified])]),
      ...driver,
    ];
    if (found.some(({ severity }) => severity === "error")) return found;
    const text = isV1 ? `v1, ${legacy.length} hierarchies` : `v2 at ${unified?.mountPoint ?? ""}`;
    return [kinds.report("fine", text), ...found];
  },
};

/** The controllers of v1; other mount options do not name one. */
const legacyControllers = new Set(
  `blkio cpu cpuacct cpuset devices freezer hugetlb memory net_cls net_prio perf_event pids rdma misc
  debug`.split(/\s+/),
);

function isController(option: string): boolean {
  return legacyControllers.has(option);
}

async function examineV1(
  host: Host,
  legacy: readonly MountEntry[],
  unified: MountEntry | undefined,
): Promise<readonly Finding[]> {
  const has = new Set(legacy.flatMap(({ superOptions }) => superOptions.filter(isController)));
  const inV2 =
    unified === undefined
      ? []
      : wordsOf(await host.read(`${unified.mountPoint}/cgroup.controllers`));
  const found = inV2.map((name) =>
    kinds.report(
      "hybrid-controller",
      `the controller "${name}" is in cgroup v2 at ${unified?.mountPoint ?? ""}`,
      mountAsV1(host, name),
    ),
  );
  // Controllers in v2 are reported already.
  const names = (v2: string): string => (v2 === "io" ? "blkio" : v2);
  const lacks = (name: string): boolean => !has.has(names(name)) && !inV2.includes(name);
  return [
    ...found,
    ...missing(needed.filter(lacks).map(names), useful.filter(lacks).map(names), "v1"),
    ...(["devices", "freezer"].some((name) => !has.has(name))
      ? missing(
          ["devices", "freezer"].filter((name) => !has.has(name)),
          [],
          "v1",
        )
      : []),
    kinds.report(
      "v1-in-use",
      "pods get cgroups of v1",
      "boot with systemd.unified_cgroup_hierarchy=1, or mount only cgroup v2",
    ),
  ];
}

/** Moves a controller to v1 by mounting it there, which the kernel allows while v2 does not use it. */
function mountAsV1(host: Host, name: string): Fix {
  const target = `${directory}/${name}`;
  return {
    text: `mkdir -p ${target} && mount -t cgroup -o ${name} cgroup ${target}`,
    apply: async () => {
      await host.makeDirectory(target);
      const result = await host.runCommand("mount", ["-t", "cgroup", "-o", name, "cgroup", target]);
      if (result.code === 0) return `mounted the controller "${name}" as v1 on ${target}`;
      await host.remove(target).catch(() => undefined);
      throw new Error(firstLine(result.stderr));
    },
  };
}

async function examineV2(host: Host, root: string): Promise<readonly Finding[]> {
  const has = wordsOf(await host.read(`${root}/cgroup.controllers`));
  const lacks = (name: string): boolean => !has.includes(name);
  const found = missing(needed.filter(lacks), useful.filter(lacks), "v2");
  const enabled = wordsOf(await host.read(`${root}/cgroup.subtree_control`));
  const off = needed.filter((name) => has.includes(name) && !enabled.includes(name));
  // The true root has no cgroup.type, and may have processes as well (cgroups(7)).
  const isTrueRoot = (await host.fileInfo(`${root}/cgroup.type`)) === undefined;
  const processes = wordsOf(await host.read(`${root}/cgroup.procs`)).length;
  if (off.length === 0 || isTrueRoot || processes === 0) return found;
  return [
    ...found,
    kinds.report(
      "not-delegated",
      `${root} contains ${processes} processes and does not enable ${off.join(", ")}`,
      `move the processes to a child cgroup: mkdir ${root}/init && for p in $(cat ` +
        `${root}/cgroup.procs); do echo $p >${root}/init/cgroup.procs; done`,
    ),
  ];
}

function missing(
  needed: readonly string[],
  useful: readonly string[],
  version: string,
): readonly Finding[] {
  const fix = (names: readonly string[]): string =>
    names.includes("memory")
      ? "boot with cgroup_enable=memory, or a kernel with CONFIG_MEMCG"
      : `mount ${names.join(", ")}, or boot a kernel that has them`;
  const report = (name: "controller-missing" | "controller-wanted", names: readonly string[]) =>
    names.length === 0
      ? []
      : [
          kinds.report(
            name,
            `controllers missing in cgroup ${version}: ${names.join(", ")}`,
            fix(names),
          ),
        ];
  return [...report("controller-missing", needed), ...report("controller-wanted", useful)];
}

function checkReadOnly(mounts: readonly MountEntry[]): readonly Finding[] {
  const readOnly = mounts.filter(
    ({ options, superOptions }) => options.includes("ro") || superOptions.includes("ro"),
  );
  return readOnly.map(({ mountPoint }) =>
    kinds.report(
      "read-only",
      `${mountPoint} is mounted read-only`,
      `mount -o remount,rw ${mountPoint}; in a container, make the container privileged`,
    ),
  );
}

async function checkKubeletDriver({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  const file = "/var/lib/kubelet/config.yaml";
  const text = (await host.read(file)) ?? "";
  const driver = /^cgroupDriver:\s*["']?(\w+)/m.exec(text)?.[1];
  if (driver === undefined || driver === config.runtime.cgroupDriver) return [];
  const ours = config.runtime.cgroupDriver;
  return [
    kinds.report(
      "kubelet-driver",
      `kubelet uses "${driver}" (${file}), davit uses "${ours}"`,
      `set cgroupDriver: ${ours} in ${file} and restart kubelet`,
    ),
  ];
}

async function checkSystemd({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  if (config.runtime.cgroupDriver !== "systemd") return [];
  if ((await host.fileInfo(systemdDirectory)) !== undefined) return [];
  return [
    kinds.report(
      "no-systemd",
      `runtime.cgroup_driver is "systemd", but systemd does not run this host (${systemdDirectory} does not exist)`,
      'set "runtime.cgroup_driver" and kubelet\'s cgroupDriver to "cgroupfs"',
    ),
  ];
}

function checkNsdelegate(
  { config }: DoctorContext,
  mounts: readonly MountEntry[],
  isV1: boolean,
): readonly Finding[] {
  const names = Object.entries(config.runtime.handlers)
    .filter(([, { cgroupWritable }]) => cgroupWritable)
    .map(([name]) => name);
  if (names.length === 0 || (!isV1 && hasNsdelegate(mounts))) return [];
  const reason = isV1 ? "this host has cgroup v1" : "cgroup v2 is mounted without nsdelegate";
  return [
    kinds.report(
      "nsdelegate-missing",
      `cgroup_writable is true for ${names.join(", ")}, but ${reason}`,
      isV1
        ? 'set "cgroup_writable" to false, or mount only cgroup v2'
        : `mount -o remount,nsdelegate ${directory}`,
    ),
  ];
}
