import { readdirSync, readFileSync } from "node:fs";
import { statfs } from "node:fs/promises";

import type { Clock } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type {
  CgroupFigures,
  ContainerFigures,
  FileSystemFigures,
  SlowFigures,
} from "../../core/stats/index.ts";
import {
  type CachedFiles,
  CgroupFdCache,
  type CgroupLayout,
  countOpenFiles,
  type OpenFiles,
  processDir,
} from "../../linux/cgroup/index.ts";
import { listMounts } from "../../linux/mount/index.ts";
import { Batches } from "./batches.ts";
import { DeviceNames } from "./block-devices.ts";
import { FigurePlan, openFilesLimit } from "./cgroup-figures.ts";
import { number, type Texts } from "./kernel-text.ts";
import { Samples, settled } from "./samples.ts";
import { wallNs } from "./wall-time.ts";

/** How the kernel is read. */
export interface FigureKernel {
  /** Files of a container, to be read repeatedly. */
  readonly hold: (paths: readonly string[]) => CachedFiles;
  /** Files that are read rarely. */
  readonly read: (paths: readonly string[]) => Promise<Texts>;
  /** The open files of the processes in each cgroup, undefined for one that does not exist. */
  readonly openFiles: (
    directories: readonly string[],
  ) => Promise<readonly (OpenFiles | undefined)[]>;
  readonly fileSystem: (directory: string) => Promise<Omit<FileSystemFigures, "takenAtNs">>;
  /** The sizes of huge pages: "2MB". */
  readonly pageSizes: () => readonly string[];
  /** Whether this host has huge pages, or makes some when they are used. */
  readonly hasHugePages: () => boolean;
}

/** What the figures need. */
export interface HostFiguresDeps {
  readonly cgroups: CgroupLayout;
  readonly clock: Clock;
  /** A monotonic clock in milliseconds. */
  readonly nowMs: () => number;
  /** How old a sample may be. */
  readonly freshMs: number;
  /** How long a call waits for a sample. */
  readonly patienceMs: number;
  /** The directory of the writable layers. */
  readonly directory: string;
  readonly kernel: FigureKernel;
}

interface Watched {
  readonly held: CachedFiles;
  readonly parse: ReturnType<FigurePlan["cgroup"]>["parse"];
}

interface Measured {
  readonly figures: CgroupFigures | undefined;
}

/** Counting what is open costs ten times as much as reading a file. */
const slowMs = 10_000;
/** For how long it is known whether the host has huge pages. */
const hugePagesMs = 1000;
/** Counting takes 1 us a descriptor, and a container can have millions of them: a job takes 0.25 s at most. */
const maxOpenFiles = 30_000;
const batch = { size: 8, lateMs: 500 };

/**
 * What only the CRI's metrics have of containers. Like HostStats, of which it is a part: samples are shared,
 * files stay open, and what hangs in the kernel delays only itself.
 */
export class HostFigures {
  readonly #deps: HostFiguresDeps;
  readonly #plan: FigurePlan;
  readonly #cgroups: Samples<Measured>;
  readonly #slow: Samples<SlowFigures>;
  readonly #fileSystems: Samples<FileSystemFigures>;
  readonly #watched = new Map<string, Watched>();
  readonly #openFiles: Batches<OpenFiles | undefined>;
  #hugePages = { has: true, atMs: Number.NEGATIVE_INFINITY };

  constructor(deps: HostFiguresDeps) {
    this.#deps = deps;
    const { cgroups, nowMs, freshMs, patienceMs, kernel } = deps;
    const { nameOf } = new DeviceNames(nowMs);
    this.#plan = new FigurePlan(cgroups, { pageSizes: kernel.pageSizes(), nameDevice: nameOf });
    const times = { freshMs, patienceMs };
    this.#cgroups = new Samples(times, nowMs, (id) => {
      this.#unwatch(id);
    });
    const slowTimes = { freshMs: slowMs, patienceMs };
    this.#slow = new Samples(slowTimes, nowMs);
    this.#fileSystems = new Samples(slowTimes, nowMs);
    this.#openFiles = new Batches(kernel.openFiles, batch);
  }

  /** Figures by id, without writable layers. Those whose cgroup cannot be read in time are missing. */
  async containers(
    running: readonly Container[],
  ): Promise<ReadonlyMap<string, Omit<ContainerFigures, "writableLayer">>> {
    const { nowMs, clock, patienceMs } = this.#deps;
    const sinceMs = nowMs();
    const seenAtNs = wallNs(clock);
    const work = running.flatMap((container) => [
      this.#refreshCgroup(container),
      this.#slow.refresh(container.id, () => this.#measureSlow(container)),
    ]);
    await settled(work, patienceMs);
    const found = new Map<string, Omit<ContainerFigures, "writableLayer">>();
    for (const { id } of running) {
      const measured = this.#cgroups.fresh(id, sinceMs);
      if (measured === undefined) continue;
      found.set(id, { seenAtNs, cgroup: measured.figures, slow: this.#slow.fresh(id, sinceMs) });
    }
    return found;
  }

  /** The file system of the writable layers; undefined when it does not answer in time. */
  async fileSystem(): Promise<FileSystemFigures | undefined> {
    const { directory, clock, kernel, nowMs, patienceMs } = this.#deps;
    const sinceMs = nowMs();
    const work = this.#fileSystems.refresh(directory, async () => {
      const figures = await kernel.fileSystem(directory);
      return { takenAtNs: wallNs(clock), ...figures };
    });
    await settled([work], patienceMs);
    return this.#fileSystems.fresh(directory, sinceMs);
  }

  /** Closes what is held of a container that has ended. */
  ended(id: string): void {
    this.#watched.get(id)?.held.release();
  }

  /** Drops the samples of a removed container. */
  forget(id: string): void {
    this.#unwatch(id);
    for (const samples of [this.#cgroups, this.#slow]) samples.forget(id);
  }

  #refreshCgroup(container: Container): Promise<void> | undefined {
    return this.#cgroups.refresh(container.id, async () => {
      const { held, parse } = this.#watch(container);
      const figures = parse(await held.read());
      return { figures: figures && { takenAtNs: wallNs(this.#deps.clock), ...figures } };
    });
  }

  #watch({ id, cgroupPath }: Container): Watched {
    const known = this.#watched.get(id);
    if (known !== undefined) return known;
    const { paths, parse } = this.#plan.cgroup(cgroupPath);
    const watched = { held: this.#deps.kernel.hold(paths), parse };
    this.#watched.set(id, watched);
    return watched;
  }

  #unwatch(id: string): void {
    this.ended(id);
    this.#watched.delete(id);
  }

  /** No container can use huge pages where there are none: of a host with 200 pods that saves 800 files. */
  #hasHugePages(): boolean {
    const now = this.#deps.nowMs();
    if (now - this.#hugePages.atMs >= hugePagesMs) {
      this.#hugePages = { has: this.#deps.kernel.hasHugePages(), atMs: now };
    }
    return this.#hugePages.has;
  }

  async #measureSlow({ id, cgroupPath, state }: Container): Promise<SlowFigures> {
    const { cgroups, clock, kernel } = this.#deps;
    const pid = state.name === "running" ? state.process.pid : 0;
    const unused = this.#hasHugePages() ? undefined : unusedHugePages(this.#slow.last(id));
    const { paths, parse } = this.#plan.slow(cgroupPath, pid, unused === undefined);
    const [open, texts] = await Promise.all([
      this.#openFiles.get(processDir(cgroups, cgroupPath)),
      kernel.read(paths),
    ]);
    const takenAtNs = wallNs(clock);
    if (open !== undefined) {
      return { takenAtNs, open, ...parse(texts), ...(unused && { hugePages: unused }) };
    }
    // The process of a container without a cgroup here is that of a virtual machine, and so are its limits.
    return { takenAtNs, open, openFilesLimit: undefined, maxTasks: undefined, hugePages: [] };
  }
}

/** The last huge pages of a container that has never used any; undefined for others. */
function unusedHugePages(last: SlowFigures | undefined): SlowFigures["hugePages"] | undefined {
  const isUnused = last?.hugePages.every(({ usage, maxUsage = 0n }) => usage + maxUsage === 0n);
  return isUnused === true ? last?.hugePages : undefined;
}

/** The kernel of this host. Without `cachesFiles` files are opened for each sample. */
export function thisKernel(cachesFiles: boolean): FigureKernel {
  const cache = new CgroupFdCache(undefined, { descriptors: cachesFiles ? maxDescriptors() : 0 });
  const uncached = new CgroupFdCache(undefined, { descriptors: 0 });
  const devices = new Map<string, string>();
  return {
    hold: (paths) => cache.add(paths),
    read: (paths) => uncached.add(paths).read(),
    openFiles: (directories) => countOpenFiles(directories, maxOpenFiles),
    pageSizes,
    hasHugePages,
    fileSystem: async (directory) => {
      const { bsize, blocks, files, ffree } = await statfs(directory, { bigint: true });
      const device = devices.get(directory) ?? (await deviceOf(directory));
      devices.set(directory, device);
      return { device, bytes: bsize * blocks, inodes: files, freeInodes: ffree };
    },
  };
}

/** For 200 containers: 13 files of each, and 5 KiB of the kernel's memory for a file that is open. */
const wantedDescriptors = 2600;

/** Leaves most of what this process may open to the rest of the daemon. */
function maxDescriptors(): number {
  const limit = openFilesLimit(readFileSync("/proc/self/limits", "latin1"));
  return Math.min(wantedDescriptors, Math.floor(Number(limit ?? 0n) / 4));
}

/** What is mounted where the directory is: the last of the mounts with the longest path. */
async function deviceOf(directory: string): Promise<string> {
  let found = { mountPoint: "", source: "" };
  for (const { mountPoint, source } of await listMounts()) {
    const isAbove = mountPoint === "/" || `${directory}/`.startsWith(`${mountPoint}/`);
    if (isAbove && mountPoint.length >= found.mountPoint.length) found = { mountPoint, source };
  }
  return found.source;
}

const hugePagesDirectory = "/sys/kernel/mm/hugepages";

/** linux/Documentation/admin-guide/mm/hugetlbpage.rst: pages of the pool, and those that it may get when they are used. */
function hasHugePages(): boolean {
  try {
    return readdirSync(hugePagesDirectory).some((size) =>
      ["nr_hugepages", "nr_overcommit_hugepages"].some(
        (file) => number(readFileSync(`${hugePagesDirectory}/${size}/${file}`, "latin1")) !== 0n,
      ),
    );
  } catch {
    return true; // The files of containers say it.
  }
}

/** From hugepages-2048kB to 2MB, as the kernel names the files of the controller (mm/hugetlb_cgroup.c). */
function pageSizes(): readonly string[] {
  let names: readonly string[] = [];
  try {
    names = readdirSync(hugePagesDirectory);
  } catch {
    // A kernel without huge pages.
  }
  return names.flatMap((name) => {
    const kib = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1] ?? 0);
    if (kib === 0) return [];
    if (kib >= 1 << 20) return [`${String(kib >> 20)}GB`];
    return [kib >= 1 << 10 ? `${String(kib >> 10)}MB` : `${String(kib)}KB`];
  });
}
