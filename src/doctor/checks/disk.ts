import type { MountEntry } from "../../linux/mount/index.ts";
import type { Check, DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host, DiskSpace } from "../host.ts";

const kinds = catalogue("disk", {
  fine: ["ok", ""],
  "directory-missing": ["note", "davit serve creates it at its start"],
  "not-a-directory": ["error", "davit serve cannot store data there and does not start"],
  "read-only": ["error", "davit serve must write there and does not start"],
  full: ["error", "davit cannot write records and images, so pods fail to start"],
  "too-small": ["error", "the file system is too small for an ordinary image"],
  "space-low": ["warning", "one more image may fill the file system, and then pods fail to start"],
  "inodes-low": [
    "warning",
    "images have many thousand files each: inodes will run out before the space does",
  ],
  "overlay-refused": [
    "error",
    "the root of each container is an overlay with its upper directory there",
  ],
  "filesystem-unfit": [
    "error",
    "overlayfs does not support an upper directory on this file system",
  ],
  "no-attributes": [
    "error",
    "overlayfs needs trusted extended attributes to record removed and replaced files",
  ],
  "no-file-types": ["error", "overlayfs needs file types in directory entries (d_type)"],
  "state-on-disk": ["note", "stale files stay there after a reboot; davit serve removes them"],
  "roots-not-separate": [
    "warning",
    "containers fill the file system of images and records, as if writable_root were not set",
  ],
  "no-project-quotas": [
    "warning",
    "writable layers have no limit, although writable_layer_limit is set",
  ],
  "open-to-others": ["warning", "other users of this machine can change images and containers"],
});

const mib = 1024 * 1024;
const fullBytes = 64 * mib;
const lowBytes = 2048 * mib;
const stateLowBytes = 128 * mib;
const lowShare = 0.05;

/** File systems that overlayfs does not support for an upper directory, or that lack what it needs. */
const unfit = /^(nfs4?|cifs|smb3|9p|overlay|vfat|msdos|exfat|ntfs3?|iso9660|squashfs|erofs|ramfs)$/;

/** Space on the file systems of root and state, and whether they support what davit needs. */
export const diskCheck: Check = {
  group: kinds.group,
  title: "Disk",
  catalogue: kinds,
  examine: async (context: DoctorContext) => {
    const { root, state, writableRoot } = context.config;
    const mounts = await context.host.mounts();
    const found = [
      ...(await examineDirectory(context, "root", root, mounts)),
      ...(await examineDirectory(context, "state", state, mounts)),
    ];
    const limits = noQuotas(context.config, mounts);
    if (writableRoot === "") return [...found, ...limits];
    return [
      ...found,
      ...limits,
      ...(await examineDirectory(context, "writable_root", writableRoot, mounts)),
      ...notSeparate(context.config, mounts),
    ];
  },
};

/** Limits of writable layers need project quotas that are in force: "pqnoenforce" only counts. */
function noQuotas(
  { root, writableRoot, runtime }: DoctorContext["config"],
  mounts: readonly MountEntry[],
): readonly Finding[] {
  const own = Object.values(runtime.handlers).map((handler) => handler.writableLayerLimit);
  if (![runtime.writableLayerLimit, ...own].some((limit) => limit > 0)) return [];
  const directory = writableRoot === "" ? root : writableRoot;
  const mount = mountOf(mounts, directory);
  if (mount === undefined) return [];
  if (mount.superOptions.some((option) => option === "prjquota" || option === "pquota")) return [];
  const text = `${directory} is on ${mount.fsType} without the mount option prjquota`;
  const ext4 =
    mount.mountPoint === "/"
      ? 'set writable_root to an ext4 or xfs file system that is mounted with prjquota, or see "Limit writable layers" in docs/operations.md'
      : `drain the node, stop davit, umount ${mount.mountPoint}, tune2fs -O project,quota ${mount.source}, and mount it with prjquota`;
  const other = "mount an ext4 or xfs file system with the option prjquota there";
  return [kinds.report("no-project-quotas", text, mount.fsType === "ext4" ? ext4 : other)];
}

/** Usually the file system of writable_root is not mounted. */
function notSeparate(
  { root, writableRoot }: DoctorContext["config"],
  mounts: readonly MountEntry[],
): readonly Finding[] {
  const mount = mountOf(mounts, writableRoot);
  if (mount === undefined || mount !== mountOf(mounts, root)) return [];
  const text = `writable_root "${writableRoot}" is on the file system of root, ${mount.mountPoint}`;
  return [kinds.report("roots-not-separate", text, `mount a file system on ${writableRoot}`)];
}

/** A directory of the configuration. */
type Key = "root" | "state" | "writable_root";

async function examineDirectory(
  context: DoctorContext,
  key: Key,
  directory: string,
  mounts: readonly MountEntry[],
): Promise<readonly Finding[]> {
  const { host } = context;
  const existing = await nearest(host, directory);
  if (existing.kind !== "directory") {
    const text = `${key} "${directory}": "${existing.path}" is not a directory`;
    return [
      kinds.report(
        "not-a-directory",
        text,
        `move the file away, or set ${key} to another directory`,
      ),
    ];
  }
  const mount = mountOf(mounts, existing.path);
  const isReadOnly =
    mount?.options.includes("ro") === true || mount?.superOptions.includes("ro") === true;
  const text = `${key} "${directory}"`;
  if (isReadOnly) {
    const fix = `mount -o remount,rw ${mount.mountPoint}, or set ${key} to another directory`;
    return [kinds.report("read-only", `${text} is on a read-only file system`, fix)];
  }
  const space = await host.diskSpace(existing.path);
  const found = [
    ...missingDirectory(host, key, directory, existing.path),
    ...(existing.path === directory && (existing.mode & 0o022) !== 0
      ? [
          kinds.report(
            "open-to-others",
            `${text} has mode ${octal(existing.mode)}`,
            `chmod go-w ${directory}`,
          ),
        ]
      : []),
    ...checkSpace(text, key, space),
    ...(key === "state" ? stateOnDisk(text, mount) : []),
    ...(hasSpaceForProbe(space) ? await upperLayer(context, key, existing.path, mount) : []),
  ];
  if (found.some(({ severity }) => severity !== "note")) return found;
  const free = space?.freeBytes ?? 0;
  return [
    kinds.report("fine", `${text}: ${bytes(free)} free on ${mount?.fsType ?? "its file system"}`),
    ...found,
  ];
}

/** The directory that has the upper directories of containers. */
function upperKey({ config }: DoctorContext): Key {
  return config.writableRoot === "" ? "root" : "writable_root";
}

/** The directory, or its nearest ancestor that exists. */
async function nearest(
  host: Host,
  directory: string,
): Promise<{ readonly path: string; readonly kind: string; readonly mode: number }> {
  for (let path = directory; ; path = path.slice(0, path.lastIndexOf("/"))) {
    if (path === "") return { path: "/", kind: "directory", mode: 0o755 };
    const info = await host.fileInfo(path);
    if (info !== undefined) return { path, kind: info.kind, mode: info.mode };
  }
}

function missingDirectory(
  host: Host,
  key: Key,
  directory: string,
  existing: string,
): readonly Finding[] {
  if (existing === directory) return [];
  const apply = async (): Promise<string> => {
    await host.makeDirectory(directory);
    return `created the directory ${directory}`;
  };
  const fix = { text: `mkdir -p -m 711 ${directory}`, apply };
  return [kinds.report("directory-missing", `${key} "${directory}" does not exist yet`, fix)];
}

function checkSpace(text: string, key: Key, space: DiskSpace | undefined): readonly Finding[] {
  if (space === undefined || space.totalBytes === 0) return [];
  const { freeBytes, totalBytes, freeInodes, totalInodes } = space;
  const has = `${text} has ${bytes(freeBytes)} free of ${bytes(totalBytes)}`;
  const fix = 'free space: see df -h and the sizes in "davit images"';
  const least = key === "state" ? mib : fullBytes;
  if (totalBytes < least) {
    const text = `${has}; must have at least ${bytes(least)}`;
    return [kinds.report("too-small", text, `set ${key} to a directory on a larger file system`)];
  }
  if (freeBytes < least) return [kinds.report("full", has, fix)];
  const found: Finding[] = [];
  const low = key === "state" ? stateLowBytes : lowBytes;
  if (freeBytes < low && freeBytes < totalBytes / 2) {
    found.push(kinds.report("space-low", has, fix));
  }
  if (totalInodes > 0 && freeInodes < totalInodes * lowShare) {
    const inodes = `${text} has ${freeInodes} inodes free of ${totalInodes}`;
    found.push(kinds.report("inodes-low", inodes, "remove files; df -i shows the inodes in use"));
  }
  return found;
}

/** Without space the probe would fail with a misleading error. */
function hasSpaceForProbe(space: DiskSpace | undefined): boolean {
  if (space === undefined) return true;
  const { freeBytes, totalInodes, freeInodes } = space;
  return freeBytes > mib && (totalInodes === 0 || freeInodes > 50);
}

async function upperLayer(
  context: DoctorContext,
  key: Key,
  directory: string,
  mount: MountEntry | undefined,
): Promise<readonly Finding[]> {
  const { host, skip, config } = context;
  if (key !== upperKey(context)) return [];
  const text = `${key} "${key === "root" ? config.root : config.writableRoot}"`;
  const fix = `set ${key} to a directory on ext4, xfs or btrfs`;
  if (!host.isRoot) {
    skip("disk: mounting an overlay needs root");
    const type = mount?.fsType ?? "";
    if (!unfit.test(type)) return [];
    return [kinds.report("filesystem-unfit", `${text} is on ${type}`, fix)];
  }
  const overlayError = await host.probeOverlay(directory);
  if (overlayError !== undefined) {
    const found = `mount an overlay in ${text} on ${mount?.fsType ?? "?"}: ${overlayError}`;
    return [kinds.report("overlay-refused", found, fix)];
  }
  const xattrError = await host.probeXattrs(directory);
  if (xattrError !== undefined) {
    const found = `set an extended attribute in ${text} on ${mount?.fsType ?? "?"}: ${xattrError}`;
    return [kinds.report("no-attributes", found, fix)];
  }
  return await fileTypes(host, text, mount);
}

/** Only xfs of before 2015, or made with ftype=0, has none. */
async function fileTypes(
  host: Host,
  text: string,
  mount: MountEntry | undefined,
): Promise<readonly Finding[]> {
  const program = host.findProgram("xfs_info");
  if (mount?.fsType !== "xfs" || program === undefined) return [];
  const { stdout } = await host.runCommand(program, [mount.mountPoint]);
  if (!/\bftype=0\b/.test(stdout)) return [];
  const fix = "format the file system again: mkfs.xfs -n ftype=1";
  return [kinds.report("no-file-types", `${text} is on xfs with ftype=0`, fix)];
}

function stateOnDisk(text: string, mount: MountEntry | undefined): readonly Finding[] {
  if (mount === undefined || mount.fsType === "tmpfs") return [];
  const fix = "mount a tmpfs on /run, or set state to a directory on one";
  return [kinds.report("state-on-disk", `${text} is on ${mount.fsType}`, fix)];
}

/** The mount that a path is on: the one with the longest mount point above it, the last of equals. */
function mountOf(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  const enclosing = mounts.filter(
    ({ mountPoint }) => mountPoint === "/" || `${path}/`.startsWith(`${mountPoint}/`),
  );
  const longest = Math.max(...enclosing.map(({ mountPoint }) => mountPoint.length));
  return enclosing.findLast(({ mountPoint }) => mountPoint.length === longest);
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(4, "0");
}

function bytes(count: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit] ?? ""}`;
}
