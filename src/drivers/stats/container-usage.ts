import { RuntimeError } from "../../base/errors.ts";
import type { Clock } from "../../base/time.ts";
import { valueWithin } from "../../base/wait.ts";
import type { ContainerUsage, UsageReader } from "../../core/container/index.ts";
import { type CgroupLayout, controllerDir } from "../../linux/cgroup/index.ts";
import { readFiles } from "../../linux/file/index.ts";
import { field, left, number, type Texts } from "./kernel-text.ts";
import { wallNs } from "./wall-time.ts";

/** What hangs in the kernel must delay the end of a container no longer than this. Milliseconds. */
const patienceMs = 500;

type Parsed = Omit<ContainerUsage, "takenAtNs">;

/** The files that have a container's last usage, and those that only one that runs needs. */
interface Plan {
  readonly files: readonly string[];
  readonly more: readonly string[];
  readonly parse: (texts: Texts) => Parsed;
}

/** A reader of usage. Each reading is one job of the thread pool with 4 files, or 7 of a container that runs. */
export function usageReader(
  cgroups: CgroupLayout,
  clock: Clock,
  read: typeof readFiles = readFiles,
): UsageReader {
  return async (path, of) => {
    const { files, more, parse } = planOf(cgroups, path);
    const texts = await valueWithin(
      read(of === "running" ? [...files, ...more] : files),
      patienceMs,
    );
    if (texts === undefined) {
      const text = `read usage of cgroup "${path}": the kernel has not answered within ${patienceMs} ms`;
      throw new RuntimeError("unavailable", text);
    }
    if (texts.every((text) => text === null)) return undefined;
    return { takenAtNs: wallNs(clock), ...parse(texts) };
  };
}

function planOf(layout: CgroupLayout, path: string): Plan {
  if (layout.version === "v2") {
    const inGroup = (name: string): string => `${layout.root}${path}/${name}`;
    return {
      files: ["cpu.stat", "memory.peak", "memory.events", "io.stat"].map(inGroup),
      more: ["memory.current", "memory.stat", "pids.current"].map(inGroup),
      parse: unified,
    };
  }
  const file = (controller: string, name: string): string =>
    `${controllerDir(layout, controller, path) ?? "/nonexistent"}/${name}`;
  return {
    files: [
      file("cpuacct", "cpuacct.usage"),
      file("memory", "memory.max_usage_in_bytes"),
      file("memory", "memory.oom_control"),
      file("blkio", "blkio.throttle.io_service_bytes_recursive"),
    ],
    more: [
      file("memory", "memory.usage_in_bytes"),
      file("memory", "memory.stat"),
      file("pids", "pids.current"),
    ],
    parse: legacy,
  };
}

/** linux/Documentation/admin-guide/cgroup-v2: all count what is and was in the cgroups below, too. */
function unified([cpu, peak, events, io, current, stat, pids]: Texts): Parsed {
  const us = field(cpu, "usage_usec");
  return {
    cpuNs: us === undefined ? undefined : us * 1000n,
    memoryBytes: workingSet(current, field(stat, "inactive_file")),
    memoryPeakBytes: number(peak),
    oomKills: field(events, "oom_kill"),
    readBytes: sumOf(io, /\brbytes=(\d+)/g),
    writtenBytes: sumOf(io, /\bwbytes=(\d+)/g),
    pids: number(pids),
  };
}

/** linux/Documentation/admin-guide/cgroup-v1: cpuacct, memory, blkio-controller, pids. */
function legacy([cpu, peak, oom, io, current, stat, pids]: Texts): Parsed {
  return {
    cpuNs: number(cpu),
    memoryBytes: workingSet(current, field(stat, "total_inactive_file")),
    memoryPeakBytes: number(peak),
    oomKills: field(oom, "oom_kill"),
    readBytes: sumOf(io, /^\d+:\d+ Read (\d+)$/gm),
    writtenBytes: sumOf(io, /^\d+:\d+ Write (\d+)$/gm),
    pids: number(pids),
  };
}

function workingSet(
  current: string | null | undefined,
  inactiveFile: bigint | undefined,
): bigint | undefined {
  const bytes = number(current);
  return bytes === undefined ? undefined : left(bytes, inactiveFile ?? 0n);
}

/** The sum over all devices; 0 for a file without any. */
function sumOf(text: string | null | undefined, counter: RegExp): bigint | undefined {
  if (text === null || text === undefined) return undefined;
  let sum = 0n;
  for (const [, digits = "0"] of text.matchAll(counter)) sum += BigInt(digits);
  return sum;
}
