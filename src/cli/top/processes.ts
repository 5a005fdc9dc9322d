// The processes of containers, from /proc of this machine.
import { readdirSync, readFileSync } from "node:fs";

/** A process of a container. What it says about itself (command) is the container's. */
export interface ContainerProcess {
  readonly pid: number;
  readonly parent: number;
  /** In the container's own PID namespace. */
  readonly innerPid: number;
  readonly uid: number;
  /** A letter of proc(5): R, S, D, Z, T. */
  readonly state: string;
  readonly threads: number;
  readonly memoryBytes: number;
  readonly cpuSeconds: number;
  readonly command: string;
}

// USER_HZ, which is 100 on all architectures that davit supports (proc_pid_stat(5), sysconf(_SC_CLK_TCK)).
const ticksPerSecond = 100;
// A command line may have 128 KiB and more.
const maxCommandLength = 4096;

/**
 * The processes in the cgroup of a container's first process, and below it, by pid. undefined if that process is not
 * one of the container here: the server is in another PID namespace, or the container has just ended.
 *
 * @param proc the directory, for tests
 */
export function processesOf(
  containerId: string,
  pid: number,
  proc = "/proc",
): readonly ContainerProcess[] | undefined {
  const own = cgroupsOf(`${proc}/${pid}`).find((path) => path.includes(containerId));
  if (own === undefined) return undefined;
  // The container may have moved its processes to cgroups of its own, and its first process into one of them.
  const end = own.indexOf(containerId) + containerId.length;
  const root = own.slice(0, own.indexOf("/", end) < 0 ? undefined : own.indexOf("/", end));
  const isInside = (path: string): boolean => path === root || path.startsWith(`${root}/`);
  return readdirSync(proc)
    .filter((name) => /^\d+$/.test(name) && cgroupsOf(`${proc}/${name}`).some(isInside))
    .flatMap((name) => readProcess(`${proc}/${name}`, Number(name)) ?? [])
    .toSorted((a, b) => a.pid - b.pid);
}

/** The paths of a process in the hierarchies of cgroups (cgroups(7)); none if it has ended. */
function cgroupsOf(directory: string): readonly string[] {
  const lines = read(`${directory}/cgroup`)?.split("\n") ?? [];
  return lines.map((line) => line.split(":").slice(2).join(":")).filter((path) => path !== "");
}

function readProcess(directory: string, pid: number): ContainerProcess | undefined {
  const [status, stat] = [read(`${directory}/status`), read(`${directory}/stat`)];
  if (status === undefined || stat === undefined) return undefined;
  const field = (name: string): string =>
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(status)?.[1] ?? "";
  const number = (name: string): number => Number(field(name).split(/\s/)[0]);
  // The name in stat may contain spaces and parentheses: the fields follow the last one (proc_pid_stat(5)).
  const times = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(times[11]) + Number(times[12]);
  const line = (read(`${directory}/cmdline`) ?? "").slice(0, maxCommandLength);
  return {
    pid,
    parent: number("PPid"),
    innerPid: Number(field("NSpid").split(/\s/).at(-1)) || pid,
    uid: number("Uid"),
    state: field("State").charAt(0),
    threads: number("Threads"),
    memoryBytes: (number("VmRSS") || 0) * 1024,
    cpuSeconds: ticks / ticksPerSecond,
    // Kernel threads and zombies have no command line: ps(1) shows their names in brackets.
    command: line.replaceAll("\0", " ").trim() || `[${field("Name")}]`,
  };
}

/** Undefined for a process that has ended meanwhile. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
