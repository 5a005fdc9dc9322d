import { type Check, numberOf, type DoctorContext, wordsOf } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("kernel", {
  fine: ["ok", ""],
  "too-old": ["error", "davit uses system calls of Linux 5.12 to mount and to start processes"],
  "overlay-missing": ["error", "the root of each container is an overlay mount"],
  "namespaces-missing": ["error", "pods and containers need these namespaces"],
  "namespaces-few": ["warning", "each pod needs up to four namespaces, each container two or more"],
  "seccomp-missing": [
    "error",
    "no image can be pulled, and containers with a seccomp profile, including RuntimeDefault, do not start",
  ],
  "selinux-missing": ["error", "davit serve does not start with runtime.selinux on this host"],
  "apparmor-no-parser": [
    "warning",
    "davit needs apparmor_parser to load its default profile: containers run unconfined by AppArmor",
  ],
  "userns-off": ["note", "pods with hostUsers: false need user namespaces"],
  "idmap-missing": ["note", "pods with hostUsers: false need id-mapped overlays (Linux 5.19)"],
  "tmpfs-idmap-missing": [
    "note",
    'pods with hostUsers: false need id-mapped tmpfs volumes, such as tokens (Linux 6.3); user_namespaces = "auto" has no effect without',
  ],
  "erofs-missing": [
    "note",
    'only images.layer_format = "erofs" needs it; the default format does not',
  ],
  "erofs-layers-off": [
    "warning",
    'layers are unpacked into directories, although images.layer_format is "erofs"',
  ],
  "pid-max-low": ["warning", "all processes and threads of all pods share this range"],
  "inotify-instances-low": [
    "note",
    "programs that watch files fail with EMFILE when the instances are used up",
  ],
  "inotify-watches-low": [
    "note",
    "programs that watch files fail with ENOSPC when the watches are used up",
  ],
});

const oldest: Version = [5, 12];
const idmappedOverlays: Version = [5, 19];
const idmappedTmpfs: Version = [6, 3];
/** Mounts EROFS images from files. */
const erofsFromFiles: Version = [6, 12];
const pidMaxLow = 32_768;
const namespacesFew = 1_000;
const instancesLow = 512;
const watchesLow = 65_536;

type Version = readonly [major: number, minor: number];

/** The features of the kernel, and its limits for the whole machine. */
export const kernelCheck: Check = {
  group: kinds.group,
  title: "Kernel",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { host } = context;
    const version = parseRelease(host.kernelRelease);
    const found = [
      ...checkVersion(host.kernelRelease, version),
      ...(await checkFilesystems(context)),
      ...checkLayerFormat(context, version),
      ...(await checkNamespaces(host)),
      ...(await checkSeccomp(host)),
      ...(await checkSelinux(context)),
      ...(await checkAppArmor(host)),
      ...(await checkLimits(host)),
    ];
    const isFine = found.every(({ severity }) => severity !== "error");
    return isFine ? [kinds.report("fine", `Linux ${host.kernelRelease}`), ...found] : found;
  },
};

function parseRelease(release: string): Version | undefined {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return match === null ? undefined : [Number(match[1]), Number(match[2])];
}

async function checkSelinux({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  const file = "/sys/fs/selinux/enforce";
  if (!config.runtime.selinux || (await host.fileInfo(file)) !== undefined) return [];
  return [
    kinds.report(
      "selinux-missing",
      `runtime.selinux is true, but SELinux is disabled on this host (${file} does not exist)`,
      'boot with SELinux, or set "runtime.selinux" to false',
    ),
  ];
}

async function checkAppArmor(host: Host): Promise<readonly Finding[]> {
  const enabled = (await host.read("/sys/module/apparmor/parameters/enabled"))?.trim();
  const paths = ["", "/usr/sbin/", "/sbin/"].map((directory) => `${directory}apparmor_parser`);
  if (enabled !== "Y" || paths.some((path) => host.findProgram(path) !== undefined)) return [];
  const text = "AppArmor is enabled, but apparmor_parser was not found";
  return [kinds.report("apparmor-no-parser", text, "apt-get install apparmor, then restart davit")];
}

function isBefore([major, minor]: Version, [otherMajor, otherMinor]: Version): boolean {
  return major < otherMajor || (major === otherMajor && minor < otherMinor);
}

function checkVersion(release: string, version: Version | undefined): readonly Finding[] {
  if (version === undefined) return [];
  if (isBefore(version, oldest)) {
    return [kinds.report("too-old", `Linux ${release}`, "boot Linux 5.12 or newer")];
  }
  // Both need a boot, and 5.19 would not suffice for the volumes of kubelet.
  const fix = "boot Linux 6.3 or newer";
  if (isBefore(version, idmappedOverlays)) {
    return [kinds.report("idmap-missing", `Linux ${release}`, fix)];
  }
  if (!isBefore(version, idmappedTmpfs)) return [];
  return [kinds.report("tmpfs-idmap-missing", `Linux ${release}`, fix)];
}

function checkLayerFormat(
  { host, config }: DoctorContext,
  version: Version | undefined,
): readonly Finding[] {
  if (config.images.layerFormat !== "erofs" || version === undefined) return [];
  if (!isBefore(version, erofsFromFiles)) return [];
  const fix = 'boot Linux 6.12 or newer, or set images.layer_format = "directory"';
  return [kinds.report("erofs-layers-off", `Linux ${host.kernelRelease}`, fix)];
}

async function checkFilesystems({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  const known = wordsOf(await host.read("/proc/filesystems"));
  // The kernel loads a module with the first mount.
  const directory = `/lib/modules/${host.kernelRelease}`;
  const modules = `${await host.read(`${directory}/modules.dep`)}${await host.read(`${directory}/modules.builtin`)}`;
  const has = (name: string): boolean => known.includes(name) || modules.includes(`/${name}.ko`);
  const found: Finding[] = [];
  if (!has("overlay")) {
    const fix = "modprobe overlay, or boot a kernel with CONFIG_OVERLAY_FS";
    found.push(kinds.report("overlay-missing", "overlay is not in /proc/filesystems", fix));
  }
  if (!has("erofs")) {
    const kind = config.images.layerFormat === "erofs" ? "erofs-layers-off" : "erofs-missing";
    found.push(kinds.report(kind, "erofs is not in /proc/filesystems", "modprobe erofs"));
  }
  return found;
}

async function checkNamespaces(host: Host): Promise<readonly Finding[]> {
  const supported = (await host.list("/proc/self/ns")) ?? [];
  const missing = ["ipc", "mnt", "net", "pid", "uts"].filter((name) => !supported.includes(name));
  const found: Finding[] = [];
  if (missing.length > 0) {
    const fix = "boot a kernel with CONFIG_NAMESPACES and all of its options";
    found.push(
      kinds.report("namespaces-missing", `namespaces missing: ${missing.join(", ")}`, fix),
    );
  }
  for (const name of ["ipc", "mnt", "net", "pid", "uts"]) {
    const key = `user.max_${name}_namespaces`;
    const limit = await readSysctl(host, key);
    if (limit === undefined || limit >= namespacesFew) continue;
    found.push(kinds.report("namespaces-few", `${key} is ${limit}`, `sysctl -w ${key}=15000`));
  }
  const users = await readSysctl(host, "user.max_user_namespaces");
  if (!supported.includes("user") || users === 0) {
    const text = users === 0 ? "user.max_user_namespaces is 0" : "namespaces missing: user";
    found.push(kinds.report("userns-off", text, "sysctl -w user.max_user_namespaces=15000"));
  }
  return found;
}

async function checkSeccomp(host: Host): Promise<readonly Finding[]> {
  const actions = wordsOf(await host.read("/proc/sys/kernel/seccomp/actions_avail"));
  if (actions.includes("errno")) return [];
  const fix = "boot a kernel with CONFIG_SECCOMP_FILTER";
  return [kinds.report("seccomp-missing", "the kernel does not support seccomp filters", fix)];
}

async function checkLimits(host: Host): Promise<readonly Finding[]> {
  const rules = [
    ["pid-max-low", "kernel.pid_max", pidMaxLow, 4_194_304],
    ["inotify-instances-low", "fs.inotify.max_user_instances", instancesLow - 1, 8192],
    ["inotify-watches-low", "fs.inotify.max_user_watches", watchesLow - 1, 524_288],
  ] as const;
  const found: Finding[] = [];
  for (const [name, key, low, better] of rules) {
    const value = await readSysctl(host, key);
    if (value === undefined || value > low) continue;
    found.push(kinds.report(name, `${key} is ${value}`, `sysctl -w ${key}=${better}`));
  }
  return found;
}

async function readSysctl(host: Host, key: string): Promise<number | undefined> {
  return numberOf(await host.read(`/proc/sys/${key.replaceAll(".", "/")}`));
}
