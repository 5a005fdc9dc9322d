import { type Dirent, lstatSync, readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { DatabaseSync } from "node:sqlite";

/** One mount of this mount namespace (proc_pid_mountinfo(5)). */
export interface MountEntry {
  readonly root: string;
  readonly target: string;
  readonly type: string;
  readonly source: string;
}

/** The mounts of this process's namespace. */
export function readMounts(): readonly MountEntry[] {
  const lines = readFileSync("/proc/self/mountinfo", "utf8").trim().split("\n");
  return lines.map((line) => {
    const fields = line.split(" ");
    const dash = fields.indexOf("-", 6);
    return {
      root: fields[3] ?? "",
      target: unescape(fields[4] ?? ""),
      type: fields[dash + 1] ?? "",
      source: unescape(fields[dash + 2] ?? ""),
    };
  });
}

/** mountinfo writes blanks, tabs, newlines and backslashes as three octal digits. */
function unescape(field: string): string {
  return field.replaceAll(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

/** Names of all mounts except pinned namespaces, which have a kind of their own. */
export function mountNames(mounts: readonly MountEntry[]): readonly string[] {
  return mounts
    .filter(({ type }) => type !== "nsfs")
    .map(({ root, target, type, source }) =>
      root === "/" ? `${target} (${type} ${source})` : `${target} (${type} ${source} at ${root})`,
    );
}

/** Pinned namespaces, and the names that ip-netns(8) shows. */
export function namespaceNames(mounts: readonly MountEntry[]): readonly string[] {
  const pinned = mounts.filter(({ type }) => type === "nsfs");
  return [
    ...pinned.map(({ target, root }) => `${target} (${root.split(":")[0] ?? ""})`),
    ...entries("/run/netns").map(({ name }) => `/run/netns/${name} (name)`),
  ];
}

/** The chosen cgroups of every mounted hierarchy, v1 and v2. */
export function cgroupNames(
  mounts: readonly MountEntry[],
  chosen: (path: string) => boolean,
): readonly string[] {
  const names: string[] = [];
  for (const { type, target } of mounts) {
    if (type !== "cgroup" && type !== "cgroup2") continue;
    for (const directory of walk(target).directories) {
      if (chosen(directory.slice(target.length))) names.push(directory);
    }
  }
  return names;
}

/** IPAM files and cached results, without the files that host-local keeps forever by design. */
export function cniNames(directories: readonly string[]): readonly string[] {
  return directories
    .flatMap((directory) => walk(directory).files)
    .filter((file) => !/^(lock|last_reserved_ip\..*)$/.test(path.basename(file)));
}

/** In a layer's directory, until the layer is on the disk: a moment after a pull. */
const unsyncedMark = /\/layers\/[^/]+\/unsynced$/;

/** Files and directories below the roots. */
export function fileNames(roots: readonly string[], ignored: readonly RegExp[]): readonly string[] {
  const below = roots.flatMap((root) => {
    const { files, directories } = walk(root);
    return [...files, ...directories.map((directory) => `${directory}/`)];
  });
  return below.filter((name) => ![unsyncedMark, ...ignored].some((pattern) => pattern.test(name)));
}

/** The entries of /tmp that begin with "davit". */
export function temporaryNames(): readonly string[] {
  const names = entries("/tmp").map(({ name }) => `/tmp/${name}`);
  return names.filter((name) => name.startsWith("/tmp/davit"));
}

/** The number of rows of each table of a SQLite file; empty if the file does not exist. */
export function rowCounts(file: string): ReadonlyMap<string, number> {
  if (lstatSync(file, { throwIfNoEntry: false }) === undefined) return new Map();
  const database = new DatabaseSync(file, { readOnly: true });
  try {
    const tables = database.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    const counts = tables.map(({ name }) => {
      const table = String(name).replaceAll('"', '""');
      const row = database.prepare(`SELECT count(*) AS n FROM "${table}"`).get();
      return [`table ${String(name)}`, Number(row?.["n"])] as const;
    });
    return new Map(counts.filter(([, rows]) => rows > 0));
  } finally {
    database.close();
  }
}

/** System V objects of this ipc namespace, by kind, key and owner (proc(5), /proc/sysvipc). */
export function ipcNames(): readonly string[] {
  return ["shm", "msg", "sem"].flatMap((kind) => {
    const lines = readFileSync(`/proc/sysvipc/${kind}`, "utf8").trim().split("\n").slice(1);
    return lines.map((line) => {
      const [key, id] = line.trim().split(/\s+/);
      return `${kind} id ${id ?? ""} key ${key ?? ""}`;
    });
  });
}

/** Everything below a directory on its file system; empty if the directory does not exist. */
function walk(top: string): { files: string[]; directories: string[] } {
  const files: string[] = [];
  const directories: string[] = [];
  const device = lstatSync(top, { throwIfNoEntry: false })?.dev;
  const queue = device === undefined ? [] : [top];
  for (let directory = queue.pop(); directory !== undefined; directory = queue.pop()) {
    for (const entry of entries(directory)) {
      const name = path.join(directory, entry.name);
      (entry.isDirectory() ? directories : files).push(name);
      if (!entry.isDirectory()) continue;
      if (lstatSync(name, { throwIfNoEntry: false })?.dev === device) queue.push(name);
    }
  }
  return { files, directories };
}

/** The entries of a directory; none if it does not exist or is removed meanwhile. */
function entries(directory: string): readonly Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    return [];
  }
}
