import { type Check, numberOf, type DoctorContext, wordsOf } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host } from "../host.ts";

const kinds = catalogue("kernel", {
  fine: ["ok", ""],
  "too-old": ["error", "davit mounts and starts processes by calls that came with Linux 5.12"],
  "overlay-missing": ["error", "every container's root is an overlay mount"],
  "namespaces-missing": ["error", "pods and containers are made of namespaces"],
  "namespaces-few": ["warning", "each pod takes up to four namespaces, each container two or more"],
  "seccomp-missing": [
    "error",
    "containers with a seccomp profile, RuntimeDefault too, do not start",
  ],
  "selinux-missing": ["error", "davit does not start with runtime.selinux on such a host"],
  "apparmor-no-parser": [
    "warning",
    "without apparmor_parser davit cannot load its default profile: containers run unconfined by AppArmor",
  ],
  "userns-off": ["note", "pods with hostUsers: false need user namespaces"],
  "idmap-missing": ["note", "pods with hostUsers: false need id-mapped overlays, of Linux 5.19"],
  "erofs-missing": [
    "note",
    "images in EROFS form cannot be mounted; ordinary images do not need it",
  ],
  "pid-max-low": ["warning", "all processes and threads of all pods share these numbers"],
  "inotify-instances-low": [
    "note",
    "programs that watch files fail with EMFILE once they are used up",
  ],
  "inotify-watches-low": [
    "note",
    "programs that watch files fail with ENOSPC once they are used up",
  ],
});

const oldest: Version = [5, 12];
const idmappedOverlays: Version = [5, 19];
const pidMaxLow = 32_768;
const namespacesFew = 1_000;
const instancesLow = 512;
const watchesLow = 65_536;

type Version = readonly [major: number, minor: number];

/** What the kernel can do, and its limits for the whole machine. */
export const kernelCheck: Check = {
  group: kinds.group,
  title: "Kernel",
  catalogue: kinds,
  examine: async (subject: DoctorContext) => {
    const { host } = subject;
    const version = parseRelease(host.kernelRelease);
    const found = [
      ...ages(host.kernelRelease, version),
      ...(await filesystems(host)),
      ...(await namespaces(host)),
      ...(await seccomp(host)),
      ...(await selinux(subject)),
      ...(await apparmor(host)),
      ...(await limits(host)),
    ];
    const isFine = found.every(({ severity }) => severity !== "error");
    return isFine ? [kinds.report("fine", `Linux ${host.kernelRelease}`), ...found] : found;
  },
};

function parseRelease(release: string): Version | undefined {
  const match = /^(\d+)\.(\d+)/.exec(release);
  return match === null ? undefined : [Number(match[1]), Number(match[2])];
}

async function selinux({ host, config }: DoctorContext): Promise<readonly Finding[]> {
  const file = "/sys/fs/selinux/enforce";
  if (!config.runtime.selinux || (await host.fileInfo(file)) !== undefined) return [];
  return [
    kinds.report(
      "selinux-missing",
      `runtime.selinux is true, and SELinux is off on this host (no ${file})`,
      'boot with SELinux, or set "runtime.selinux" to false',
    ),
  ];
}

async function apparmor(host: Host): Promise<readonly Finding[]> {
  const enabled = (await host.read("/sys/module/apparmor/parameters/enabled"))?.trim();
  const places = ["", "/usr/sbin/", "/sbin/"].map((directory) => `${directory}apparmor_parser`);
  if (enabled !== "Y" || places.some((place) => host.find(place) !== undefined)) return [];
  const text = "AppArmor is on in the kernel, and there is no apparmor_parser";
  return [kinds.report("apparmor-no-parser", text, "apt-get install apparmor, then restart davit")];
}

function isBefore([major, minor]: Version, [wantMajor, wantMinor]: Version): boolean {
  return major < wantMajor || (major === wantMajor && minor < wantMinor);
}

function ages(release: string, version: Version | undefined): readonly Finding[] {
  if (version === undefined) return [];
  if (isBefore(version, oldest)) {
    return [kinds.report("too-old", `Linux ${release}`, "boot Linux 5.12 or newer")];
  }
  if (!isBefore(version, idmappedOverlays)) return [];
  return [kinds.report("idmap-missing", `Linux ${release}`, "boot Linux 5.19 or newer")];
}

async function filesystems(host: Host): Promise<readonly Finding[]> {
  const known = wordsOf(await host.read("/proc/filesystems"));
  // What the kernel has as a module is there with its first mount.
  const directory = `/lib/modules/${host.kernelRelease}`;
  const modules = `${await host.read(`${directory}/modules.dep`)}${await host.read(`${directory}/modules.builtin`)}`;
  const has = (name: string): boolean => known.includes(name) || modules.includes(`/${name}.ko`);
  const found: Finding[] = [];
  if (!has("overlay")) {
    const fix = "modprobe overlay, or boot a kernel with CONFIG_OVERLAY_FS";
    found.push(kinds.report("overlay-missing", "no overlay in /proc/filesystems", fix));
  }
  if (!has("erofs")) {
    found.push(kinds.report("erofs-missing", "no erofs in /proc/filesystems", "modprobe erofs"));
  }
  return found;
}

async function namespaces(host: Host): Promise<readonly Finding[]> {
  const there = (await host.list("/proc/self/ns")) ?? [];
  const missing = ["ipc", "mnt", "net", "pid", "uts"].filter((name) => !there.includes(name));
  const found: Finding[] = [];
  if (missing.length > 0) {
    const fix = "boot a kernel with CONFIG_NAMESPACES and all that is below it";
    found.push(kinds.report("namespaces-missing", `no ${missing.join(", ")} namespaces`, fix));
  }
  for (const name of ["ipc", "mnt", "net", "pid", "uts"]) {
    const key = `user.max_${name}_namespaces`;
    const limit = await sysctl(host, key);
    if (limit === undefined || limit >= namespacesFew) continue;
    found.push(kinds.report("namespaces-few", `${key} is ${limit}`, `sysctl -w ${key}=15000`));
  }
  const users = await sysctl(host, "user.max_user_namespaces");
  if (!there.includes("user") || users === 0) {
    const text = users === 0 ? "user.max_user_namespaces is 0" : "no user namespaces";
    found.push(kinds.report("userns-off", text, "sysctl -w user.max_user_namespaces=15000"));
  }
  return found;
}

async function seccomp(host: Host): Promise<readonly Finding[]> {
  const actions = wordsOf(await host.read("/proc/sys/kernel/seccomp/actions_avail"));
  if (actions.includes("errno")) return [];
  const fix = "boot a kernel with CONFIG_SECCOMP_FILTER";
  return [kinds.report("seccomp-missing", "the kernel offers no seccomp filters", fix)];
}

async function limits(host: Host): Promise<readonly Finding[]> {
  const rules = [
    ["pid-max-low", "kernel.pid_max", pidMaxLow, 4_194_304],
    ["inotify-instances-low", "fs.inotify.max_user_instances", instancesLow - 1, 8192],
    ["inotify-watches-low", "fs.inotify.max_user_watches", watchesLow - 1, 524_288],
  ] as const;
  const found: Finding[] = [];
  for (const [name, key, low, better] of rules) {
    const value = await sysctl(host, key);
    if (value === undefined || value > low) continue;
    found.push(kinds.report(name, `${key} is ${value}`, `sysctl -w ${key}=${better}`));
  }
  return found;
}

async function sysctl(host: Host, key: string): Promise<number | undefined> {
  return numberOf(await host.read(`/proc/sys/${key.replaceAll(".", "/")}`));
}
