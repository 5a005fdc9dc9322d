import type { MountEntry } from "../../linux/mount/index.ts";
import { type Check, type DoctorContext } from "../check.ts";
import { catalogue, type Finding } from "../finding.ts";
import type { Host, Space } from "../host.ts";

const kinds = catalogue("disk", {
  fine: ["ok", ""],
  "directory-missing": ["note", "davit serve makes it when it starts"],
  "not-a-directory": ["error", "davit serve cannot keep anything there, and does not start"],
  "read-only": ["error", "davit serve writes there, and does not start"],
  full: ["error", "records and images cannot be written: pods fail to start"],
  "too-small": ["error", "an image of ordinary size does not fit, however much is removed"],
  "space-low": ["warning", "one more image may fill it, and then pods fail to start"],
  "inodes-low": [
    "warning",
    "an image has some ten thousand files: there is room, but not for files",
  ],
  "overlay-refused": ["error", "every container's root is an overlay whose upper layer lies there"],
  "filesystem-unfit": ["error", "overlayfs takes no upper layer on such a file system"],
  "no-attributes": [
    "error",
    "overlayfs notes there which files of an image were removed or replaced",
  ],
  "no-file-types": ["error", "overlayfs needs the types of files in directory entries (d_type)"],
  "state-on-disk": ["note", "a reboot leaves stale files there; davit serve cleans them up"],
  "open-to-others": ["warning", "other users of this machine could change images and containers"],
});

const mib = 1024 * 1024;
const fullBytes = 64 * mib;
const lowBytes = 2048 * mib;
const stateLowBytes = 128 * mib;
const lowShare = 0.05;

/** File systems that overlayfs refuses as upper layer, or that do not hold what it writes. */
const unfit = /^(nfs4?|cifs|smb3|9p|overlay|vfat|msdos|exfat|ntfs3?|iso9660|squashfs|erofs|ramfs)$/;

/** Room on the file systems of root and state, and whether they are fit for what lies there. */
export const diskCheck: Check = {
  group: kinds.group,
  title: "Disk",
  catalogue: kinds,
  examine: async (subject: DoctorContext) => {
    const { root, state } = subject.config;
    const mounts = await subject.host.mounts();
    const found = [
      ...(await examineDirectory(subject, "root", root, mounts)),
      ...(await examineDirectory(subject, "state", state, mounts)),
    ];
    return found;
  },
};

async function examineDirectory(
  subject: DoctorContext,
  key: "root" | "state",
  directory: string,
  mounts: readonly MountEntry[],
): Promise<readonly Finding[]> {
  const { host } = subject;
  const place = await nearest(host, directory);
  if (place.kind !== "directory") {
    const text = `"${place.path}", of ${key} "${directory}", is no directory`;
    return [
      kinds.report("not-a-directory", text, `move it away, or set ${key} to another directory`),
    ];
  }
  const mount = mountAround(mounts, place.path);
  const isReadOnly =
    mount?.options.includes("ro") === true || mount?.superOptions.includes("ro") === true;
  const text = `${key} "${directory}"`;
  if (isReadOnly) {
    const fix = `mount -o remount,rw ${mount.mountPoint}, or set ${key} to another directory`;
    return [kinds.report("read-only", `${text} is on a read-only file system`, fix)];
  }
  const space = await host.space(place.path);
  const found = [
    ...missingDirectory(host, key, directory, place.path),
    ...(place.path === directory && (place.mode & 0o022) !== 0
      ? [
          kinds.report(
            "open-to-others",
            `${text} has mode ${octal(place.mode)}`,
            `chmod go-w ${directory}`,
          ),
        ]
      : []),
    ...room(text, key, space),
    ...(key === "root"
      ? hasRoomForTrial(space)
        ? await upperLayer(subject, text, place.path, mount)
        : []
      : stateOnDisk(text, mount)),
  ];
  if (found.some(({ severity }) => severity !== "note")) return found;
  const free = space?.freeBytes ?? 0;
  return [
    kinds.report("fine", `${text}: ${bytes(free)} free on ${mount?.fsType ?? "its file system"}`),
    ...found,
  ];
}

/** The directory, or what there is on the way to it. */
async function nearest(
  host: Host,
  directory: string,
): Promise<{ readonly path: string; readonly kind: string; readonly mode: number }> {
  for (let path = directory; ; path = path.slice(0, path.lastIndexOf("/"))) {
    if (path === "") return { path: "/", kind: "directory", mode: 0o755 };
    const look = await host.fileInfo(path);
    if (look !== undefined) return { path, kind: look.kind, mode: look.mode };
  }
}

function missingDirectory(
  host: Host,
  key: string,
  directory: string,
  there: string,
): readonly Finding[] {
  if (there === directory) return [];
  const apply = async (): Promise<string> => {
    await host.makeDirectory(directory);
    return `made the directory ${directory}`;
  };
  const fix = { text: `mkdir -p -m 711 ${directory}`, apply };
  return [kinds.report("directory-missing", `${key} "${directory}" is not there yet`, fix)];
}

function room(text: string, key: "root" | "state", space: Space | undefined): readonly Finding[] {
  if (space === undefined || space.totalBytes === 0) return [];
  const { freeBytes, totalBytes, freeInodes, totalInodes } = space;
  const has = `${text} has ${bytes(freeBytes)} free of ${bytes(totalBytes)}`;
  const fix = 'make room: df -h shows who fills it, "davit images" what images take';
  const least = key === "root" ? fullBytes : mib;
  if (totalBytes < least) {
    const text = `${has}; want at least ${bytes(least)}`;
    return [kinds.report("too-small", text, `set ${key} to a directory on a larger file system`)];
  }
  if (freeBytes < least) return [kinds.report("full", has, fix)];
  const found: Finding[] = [];
  const low = key === "root" ? lowBytes : stateLowBytes;
  if (freeBytes < low && freeBytes < totalBytes / 2) {
    found.push(kinds.report("space-low", has, fix));
  }
  if (totalInodes > 0 && freeInodes < totalInodes * lowShare) {
    const inodes = `${text} has ${freeInodes} inodes free of ${totalInodes}`;
    found.push(kinds.report("inodes-low", inodes, "df -i shows who has them; remove files"));
  }
  return found;
}

/** Without room a trial would fail for that, and say something else. */
function hasRoomForTrial(space: Space | undefined): boolean {
  if (space === undefined) return true;
  const { freeBytes, totalInodes, freeInodes } = space;
  return freeBytes > mib && (totalInodes === 0 || freeInodes > 50);
}

async function upperLayer(
  { host, leaveOut }: DoctorContext,
  text: string,
  place: string,
  mount: MountEntry | undefined,
): Promise<readonly Finding[]> {
  const fix = "set root to a directory on ext4, xfs or btrfs";
  if (!host.isRoot) {
    leaveOut("disk: an overlay is mounted on a trial, which takes root");
    const type = mount?.fsType ?? "";
    if (!unfit.test(type)) return [];
    return [kinds.report("filesystem-unfit", `${text} is on ${type}`, fix)];
  }
  const refusal = await host.tryOverlay(place);
  if (refusal !== undefined) {
    return [kinds.report("overlay-refused", `${text} on ${mount?.fsType ?? "?"}: ${refusal}`, fix)];
  }
  const attributes = await host.tryAttributes(place);
  if (attributes !== undefined) {
    return [
      kinds.report("no-attributes", `${text} on ${mount?.fsType ?? "?"}: ${attributes}`, fix),
    ];
  }
  return await fileTypes(host, text, mount);
}

/** Only old xfs can be without: mkfs.xfs of before 2015, or with ftype=0. */
async function fileTypes(
  host: Host,
  text: string,
  mount: MountEntry | undefined,
): Promise<readonly Finding[]> {
  const program = host.find("xfs_info");
  if (mount?.fsType !== "xfs" || program === undefined) return [];
  const { stdout } = await host.command(program, [mount.mountPoint]);
  if (!/\bftype=0\b/.test(stdout)) return [];
  const fix = "make the file system again: mkfs.xfs -n ftype=1";
  return [kinds.report("no-file-types", `${text} is on xfs with ftype=0`, fix)];
}

function stateOnDisk(text: string, mount: MountEntry | undefined): readonly Finding[] {
  if (mount === undefined || mount.fsType === "tmpfs") return [];
  const fix = "mount a tmpfs on /run, or set state to a directory on one";
  return [kinds.report("state-on-disk", `${text} is on ${mount.fsType}`, fix)];
}

/** The mount that a path is on: the one with the longest mount point around it, the last of equals. */
export function mountAround(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  const around = mounts.filter(
    ({ mountPoint }) => mountPoint === "/" || `${path}/`.startsWith(`${mountPoint}/`),
  );
  const longest = Math.max(...around.map(({ mountPoint }) => mountPoint.length));
  return around.findLast(({ mountPoint }) => mountPoint.length === longest);
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
