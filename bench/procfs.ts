/** The processes of a server, each by its directory in a /proc, with their CPU time and memory. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import path from "node:path";

// USER_HZ, which every Linux of today has at 100 (proc_pid_stat(5)).
const tickMs = 10;

interface Process {
  /** Its directory, such as `/proc/12`. */
  readonly directory: string;
  readonly pid: number;
  readonly parent: number;
  readonly command: string;
  readonly cpuMs: number;
  /** Of children that have ended and were waited for. */
  readonly childrenMs: number;
}

/**
 * The processes of a server in the same /proc: `main`, all of its PID namespace whose command line contains `mark` (monitors
 * that outlive it), and the descendants of both. Without the bench itself, whose command line names the socket of a rival.
 */
export function processTree(main: string, mark: string): readonly string[] {
  const all = processes(path.dirname(main));
  const namespace = pidNamespace(main);
  const isMonitor = ({ directory, command }: Process): boolean =>
    command.includes(mark) && !command.includes("--peer") && pidNamespace(directory) === namespace;
  const roots = all.filter((each) => each.directory === main || isMonitor(each));
  const tree = new Map(roots.map(({ pid, directory }) => [pid, directory]));
  if (path.dirname(main) === "/proc") tree.delete(process.pid);
  for (let grown = true; grown; ) {
    const children = all.filter(({ pid, parent }) => tree.has(parent) && !tree.has(pid));
    grown = children.length > 0;
    for (const { pid, directory } of children) tree.set(pid, directory);
  }
  return [...tree.values()];
}

/** User and system time of these processes with all their threads, in steps of 10 ms. */
export function cpuMs(directories: readonly string[]): number {
  return directories.reduce((sum, directory) => sum + (readProcess(directory)?.cpuMs ?? 0), 0);
}

/** As {@link cpuMs}, with that of their children that have ended. */
export function cpuWithChildrenMs(directories: readonly string[]): number {
  const found = directories.map(readProcess).filter((process) => process !== undefined);
  return found.reduce((sum, { cpuMs, childrenMs }) => sum + cpuMs + childrenMs, 0);
}

/** The proportional set size of these processes together, in KiB (smaps_rollup). */
export function pssKib(directories: readonly string[]): number {
  return directories.reduce((sum, directory) => {
    const text = read(`${directory}/smaps_rollup`);
    return sum + Number(/^Pss:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0);
  }, 0);
}

/** The processes that a /proc shows. */
export function processDirectories(proc: string): readonly string[] {
  return readdirSync(proc)
    .filter((name) => /^\d+$/.test(name))
    .map((name) => path.join(proc, name));
}

function processes(proc: string): readonly Process[] {
  return processDirectories(proc)
    .map(readProcess)
    .filter((found) => found !== undefined);
}

/** undefined when the process has gone. */
function pidNamespace(directory: string): string | undefined {
  try {
    return readlinkSync(path.join(directory, "ns/pid"));
  } catch {
    return undefined;
  }
}

/** undefined when the process has gone. */
function readProcess(directory: string): Process | undefined {
  const stat = read(`${directory}/stat`);
  if (stat === "") return undefined;
  // The name in brackets can contain any characters: the fields are counted after it.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return {
    directory,
    pid: Number(path.basename(directory)),
    parent: Number(fields[1]),
    command: read(`${directory}/cmdline`),
    cpuMs: (Number(fields[11]) + Number(fields[12])) * tickMs,
    childrenMs: (Number(fields[13]) + Number(fields[14])) * tickMs,
  };
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // It ended meanwhile.
  }
}
