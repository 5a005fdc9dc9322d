import { existsSync, readFileSync } from "node:fs";

import { RuntimeError } from "../../base/errors.ts";
import { systemError } from "../../base/system-error.ts";
import { type MountEntry, parseMountInfo } from "../mount/mounts.ts";

/** A mounted tree of cgroups. */
export interface CgroupHierarchy {
  /** The mount point. */
  readonly path: string;
  /** `memory`, `name=systemd`...; empty for the v2 tree of a hybrid host. */
  readonly controllers: readonly string[];
}

/** How this host's cgroups are mounted (cgroups(7)). */
export type CgroupLayout = UnifiedCgroups | LegacyCgroups;

/** cgroup v2: one tree, all controllers. */
export interface UnifiedCgroups {
  readonly version: "v2";
  readonly root: string;
  readonly controllers: readonly string[];
}

/** cgroup v1: a tree for each controller or group of controllers, and on a hybrid host a v2 tree. */
export interface LegacyCgroups {
  readonly version: "v1";
  readonly hierarchies: readonly CgroupHierarchy[];
  /** Controllers that the v2 tree of a hybrid host has. */
  readonly ownedByV2: readonly string[];
  /** What an administrator should do about `ownedByV2`; `undefined` when it is empty. */
  readonly advice: string | undefined;
}

/** Mount options of a v1 hierarchy that are not controllers (linux/Documentation cgroup-v1). */
const notControllers =
  /^(ro|rw|xattr|noprefix|clone_children|cpuset_v2_mode|favordynmods|release_agent=.*)$/;

/**
 * Detects how cgroups are mounted, from the text of a mountinfo file (that of this process if not given).
 * Throws `failed-precondition` when they are not mounted.
 */
export function detectCgroups(mountInfo = readText("/proc/self/mountinfo")): CgroupLayout {
  const mounts = parseMountInfo(mountInfo);
  const unified = mounts.find((mount) => mount.fsType === "cgroup2")?.mountPoint;
  const hierarchies = legacyHierarchies(mounts);
  if (hierarchies.some((h) => h.controllers.some((name) => !name.startsWith("name=")))) {
    return legacyLayout(hierarchies, unified);
  }
  if (unified === undefined) {
    throw new RuntimeError(
      "failed-precondition",
      "detect cgroups: no hierarchy is mounted; run mount -t cgroup2 cgroup2 /sys/fs/cgroup",
    );
  }
  return { version: "v2", root: unified, controllers: readControllers(unified) };
}

/**
 * The directory of a cgroup in each hierarchy. A path is absolute, starts at the hierarchy's root and
 * has no `.` or `..`, which could name another cgroup of the host; otherwise `invalid-argument`. The root itself
 * is refused, because nothing here may change it.
 */
export function cgroupDirs(layout: CgroupLayout, path: string): readonly string[] {
  const relative = cgroupParts(path).join("/");
  return hierarchiesOf(layout).map((hierarchy) => `${hierarchy.path}/${relative}`);
}

/** All hierarchies of a layout; v2 has one. */
export function hierarchiesOf(layout: CgroupLayout): readonly CgroupHierarchy[] {
  if (layout.version === "v1") return layout.hierarchies;
  return [{ path: layout.root, controllers: layout.controllers }];
}

/** The directory of a cgroup in the v1 hierarchy of one controller, `undefined` when there is none. */
export function controllerDir(
  layout: LegacyCgroups,
  controller: string,
  path: string,
): string | undefined {
  const hierarchy = layout.hierarchies.find((h) => h.controllers.includes(controller));
  return hierarchy && `${hierarchy.path}/${cgroupParts(path).join("/")}`;
}

/** The components of the path of a cgroup; throws `invalid-argument` like `cgroupDirs`. */
export function cgroupParts(path: string): readonly string[] {
  const parts = path.split("/").filter((part) => part !== "");
  if (!path.startsWith("/") || parts.length === 0 || parts.some((p) => p === "." || p === "..")) {
    throw new RuntimeError(
      "invalid-argument",
      `use cgroup: its path must be absolute, below the root and without ".."; it is "${path}"`,
    );
  }
  return parts;
}

/**
 * Whether cgroup namespaces are delegation boundaries, which their own processes cannot cross: cgroup v2 is mounted
 * with nsdelegate (cgroups(7)). All mounts of v2 have the same options, and a new mount may change them, so the answer
 * is valid only until the next mount.
 */
export function hasNsdelegate(mounts: readonly MountEntry[]): boolean {
  const unified = mounts.find((mount) => mount.fsType === "cgroup2");
  return unified?.superOptions.includes("nsdelegate") === true;
}

function legacyHierarchies(mounts: readonly MountEntry[]): CgroupHierarchy[] {
  const found = new Map<string, CgroupHierarchy>();
  for (const mount of mounts) {
    if (mount.fsType !== "cgroup") continue;
    const controllers = mount.superOptions.filter((option) => !notControllers.test(option));
    const key = controllers.join(",");
    // The same tree may be mounted twice; cpu and cpuacct may be symbolic links to cpu,cpuacct.
    if (!found.has(key)) found.set(key, { path: mount.mountPoint, controllers });
  }
  return [...found.values()];
}

function legacyLayout(hierarchies: CgroupHierarchy[], unified: string | undefined): LegacyCgroups {
  const owned = unified === undefined ? [] : readControllers(unified);
  const directory = "/sys/fs/cgroup";
  const fixes = owned.map(
    (name) =>
      `mkdir -p ${directory}/${name} && mount -t cgroup -o ${name} cgroup ${directory}/${name}`,
  );
  return {
    version: "v1",
    hierarchies:
      unified === undefined ? hierarchies : [...hierarchies, { path: unified, controllers: [] }],
    ownedByV2: owned,
    advice:
      owned.length === 0
        ? undefined
        : `cgroup v2 at "${unified}" owns ${owned.join(", ")} while v1 hierarchies are mounted, which ` +
          `crun refuses ("drop all controllers from cgroupv2"); run ${fixes.join("; ")}`,
  };
}

function readControllers(root: string): readonly string[] {
  const path = `${root}/cgroup.controllers`;
  if (!existsSync(path)) return [];
  return readText(path)
    .split(/\s+/)
    .filter((name) => name !== "");
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw systemError(`read "${path}"`, cause);
  }
}
