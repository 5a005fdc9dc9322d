import type { Clock } from "../../base/time.ts";
import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { Roots } from "../../core/snapshot/index.ts";
import type {
  ContainerFigures,
  ContainerStats,
  Figures,
  LayerUsage,
  NetworkUsage,
  PodFigures,
  PodStats,
  ReportedUsage,
  ResourceUsage,
  SandboxMeter,
  StatsReader,
} from "../../core/stats/index.ts";
import { type CachedFiles, CgroupFdCache, type CgroupLayout } from "../../linux/cgroup/index.ts";
import { readFileInNamespaces } from "../../linux/file/index.ts";
import { Batches } from "./batches.ts";
import { type CgroupFiles, cgroupFiles } from "./cgroup-usage.ts";
import { CpuRate } from "./cpu-rate.ts";
import type { FigureKernel, HostFigures } from "./host-figures.ts";
import { parseNetDev } from "./net-dev.ts";
import { Samples, settled } from "./samples.ts";
import { wallNs } from "./wall-time.ts";

/** How the files of the kernel are read. */
interface KernelFiles {
  /** Files of a cgroup, to be read repeatedly. */
  readonly hold: (paths: readonly string[]) => CachedFiles;
  /** A file as it is in each of the network namespaces, null for one that cannot be entered. */
  readonly readInNamespaces: (
    path: string,
    nets: readonly string[],
  ) => Promise<readonly (string | null)[]>;
}

/** What the stats need. */
export interface HostStatsDeps {
  readonly cgroups: CgroupLayout;
  readonly roots: Pick<Roots, "usage" | "directory">;
  readonly clock: Clock;
  /** A monotonic clock in milliseconds; performance.now if not given. */
  readonly nowMs?: () => number;
  /** The kernel's own if not given. */
  readonly files?: KernelFiles;
  /** The same for the figures. */
  readonly figureKernel?: FigureKernel;
  /** False opens the files of cgroups for each sample instead of keeping them open. */
  readonly cachesFiles?: boolean;
  /** How long a call waits for a sample, 500 ms if not given. */
  readonly patienceMs?: number;
  /** How long it waits for the files of writable layers to be counted, 100 ms if not given. */
  readonly layerPatienceMs?: number;
  /** The reporter for a sandbox; none if not given. */
  readonly meterOf?: (sandbox: Sandbox) => SandboxMeter | undefined;
  /** How long a call waits for reports, 100 ms if not given. */
  readonly reportPatienceMs?: number;
}

/** A sampled cgroup: its files, and the rate of its processor time. */
interface Watched {
  readonly held: CachedFiles;
  readonly parse: CgroupFiles["parse"];
  readonly rate: CpuRate;
}

interface Measured {
  readonly usage: ResourceUsage | undefined;
}

/** The last report of a sandboxer, and the rate of its processor time. */
interface Reported {
  readonly usage: ReportedUsage | undefined;
  readonly nanoCores: bigint | undefined;
  readonly rate: CpuRate;
}

/** The directory of files under `/proc` which follows the namespaces of the thread that opens it. */
const netDev = "/proc/thread-self/net/dev";

/** A walk over a writable layer costs as much as the layer has files; the kernel's files cost 50 us. */
const layerMs = 10_000;
const sampleMs = 1000;
/** Metrics are scraped every 15 s or less often. cAdvisor's are up to 10 s old. */
const figuresMs = 5000;
/** Entering a namespace takes less time than starting the thread that does it. */
const netBatch = { size: 32, lateMs: 250 };

/**
 * Stats from cgroupfs and from the pinned network namespaces: no process is asked and none is
 * started. The files of cgroups stay open and are read in jobs of the thread pool; what hangs in the kernel
 * stops neither the event loop nor the others. A sample is shared for 1 s.
 */
export class HostStats implements StatsReader {
  readonly #deps: HostStatsDeps;
  readonly #nowMs: () => number;
  readonly #kernel: KernelFiles;
  readonly #patienceMs: number;
  readonly #layerPatienceMs: number;
  readonly #reportPatienceMs: number;
  readonly #cgroups: Samples<Measured>;
  readonly #networks: Samples<NetworkUsage>;
  readonly #layers: Samples<LayerUsage>;
  readonly #reports: Samples<Reported>;
  readonly #watched = new Map<string, Watched>();
  readonly #answers = new WeakMap<Measured, ContainerStats>();
  readonly #netDevs: Batches<string | null>;
  #figures: HostFigures | undefined;
  #loading: Promise<HostFigures> | undefined;

  constructor(deps: HostStatsDeps) {
    this.#deps = deps;
    this.#nowMs = deps.nowMs ?? (() => performance.now());
    this.#kernel = deps.files ?? hostFiles(deps.cachesFiles ?? true);
    this.#patienceMs = deps.patienceMs ?? 500;
    this.#layerPatienceMs = deps.layerPatienceMs ?? 100;
    const times = { freshMs: sampleMs, patienceMs: this.#patienceMs };
    this.#cgroups = new Samples(times, this.#nowMs, (id) => {
      this.#unwatch(id);
    });
    this.#networks = new Samples(times, this.#nowMs);
    this.#layers = new Samples(
      { freshMs: layerMs, patienceMs: this.#layerPatienceMs },
      this.#nowMs,
    );
    this.#reportPatienceMs = deps.reportPatienceMs ?? 100;
    const reportTimes = { freshMs: sampleMs, patienceMs: this.#reportPatienceMs };
    this.#reports = new Samples(reportTimes, this.#nowMs);
    this.#netDevs = new Batches((nets) => this.#kernel.readInNamespaces(netDev, nets), netBatch);
  }

  async containers(containers: readonly Container[]): Promise<ReadonlyMap<string, ContainerStats>> {
    const sinceMs = this.#nowMs();
    const running = containers.filter(({ state }) => state.name === "running");
    // Before the layers, whose walks can hold threads of the pool for long.
    const cgroups = running.map(({ id, cgroupPath }) =>
      this.#refreshCgroup(id, cgroupPath, "container"),
    );
    const layers = this.#refreshLayers(containers);
    await Promise.all([settled(layers, this.#layerPatienceMs), settled(cgroups, this.#patienceMs)]);
    const found = new Map<string, ContainerStats>();
    for (const { id, state } of containers) {
      const writableLayer = this.#layers.last(id);
      if (state.name !== "running") {
        found.set(id, { resources: undefined, writableLayer });
        continue;
      }
      const measured = this.#cgroups.fresh(id, sinceMs);
      if (measured !== undefined) found.set(id, this.#answer(measured, writableLayer));
    }
    return found;
  }

  async pods(sandboxes: readonly Sandbox[]): Promise<ReadonlyMap<string, PodStats>> {
    const sinceMs = this.#nowMs();
    const work = sandboxes.flatMap((sandbox) => [
      sandbox.cgroup && this.#refreshCgroup(sandbox.id, sandbox.cgroup.parent, "pod"),
      this.#refreshNetwork(sandbox),
    ]);
    const reports = sandboxes.map((sandbox) => this.#refreshReport(sandbox));
    await Promise.all([settled(work, this.#patienceMs), settled(reports, this.#reportPatienceMs)]);
    const found = new Map<string, PodStats>();
    for (const { id, cgroup } of sandboxes) {
      const measured = this.#cgroups.fresh(id, sinceMs);
      if (cgroup !== undefined && measured === undefined) continue;
      found.set(id, {
        // The last report of any age, with its own time: counters of another source would decrease.
        resources: withReport(measured?.usage, this.#reports.last(id)),
        network: this.#networks.fresh(id, sinceMs),
      });
    }
    return found;
  }

  async figures(sandboxes: readonly Sandbox[], running: readonly Container[]): Promise<Figures> {
    const sinceMs = this.#nowMs();
    const figures = this.#figures ?? (await (this.#loading ??= this.#loadOnce()));
    const measured = figures.containers(running);
    const fileSystem = figures.fileSystem();
    const networks = sandboxes.map((sandbox) => this.#refreshNetwork(sandbox, figuresMs));
    const reports = sandboxes.map((sandbox) => this.#refreshReport(sandbox));
    // The last ones, because their walks can hold threads of the pool for long.
    const layers = this.#refreshLayers(running);
    await Promise.all([
      settled(layers, this.#layerPatienceMs),
      settled(networks, this.#patienceMs),
      settled(reports, this.#reportPatienceMs),
    ]);
    const pods = new Map<string, PodFigures>();
    for (const { id } of sandboxes) {
      const reported = withReport(undefined, this.#reports.last(id));
      pods.set(id, { network: this.#networks.fresh(id, sinceMs, figuresMs), reported });
    }
    const containers = new Map<string, ContainerFigures>();
    for (const [id, found] of await measured) {
      containers.set(id, { ...found, writableLayer: this.#layers.last(id) });
    }
    return { pods, containers, fileSystem: await fileSystem };
  }

  /** Closes what is held of a container or sandbox that has ended. */
  ended(id: string): void {
    this.#watched.get(id)?.held.release();
    this.#figures?.ended(id);
  }

  /** Drops the samples of a removed container or sandbox. */
  forget(id: string): void {
    this.#unwatch(id);
    for (const samples of [this.#cgroups, this.#networks, this.#layers, this.#reports])
      samples.forget(id);
    this.#figures?.forget(id);
  }

  /** The same value as long as neither part is newer: what is encoded of it can be kept. */
  #answer(measured: Measured, writableLayer: LayerUsage | undefined): ContainerStats {
    const known = this.#answers.get(measured);
    if (known !== undefined && known.writableLayer === writableLayer) return known;
    const answer = { resources: measured.usage, writableLayer };
    this.#answers.set(measured, answer);
    return answer;
  }

  #refreshCgroup(id: string, path: string, of: "container" | "pod"): Promise<void> | undefined {
    return this.#cgroups.refresh(id, async () => {
      const { held, parse, rate } = this.#watch(id, path, of);
      const usage = parse(await held.read());
      return { usage: usage && this.#stamp(usage, rate) };
    });
  }

  #watch(id: string, path: string, of: "container" | "pod"): Watched {
    const known = this.#watched.get(id);
    if (known !== undefined) return known;
    const { paths, parse } = cgroupFiles(this.#deps.cgroups, path, of);
    const watched = { held: this.#kernel.hold(paths), parse, rate: new CpuRate() };
    this.#watched.set(id, watched);
    return watched;
  }

  #unwatch(id: string): void {
    this.#watched.get(id)?.held.release();
    this.#watched.delete(id);
  }

  #refreshNetwork({ id, netnsPath }: Sandbox, freshMs = sampleMs): Promise<void> | undefined {
    if (netnsPath === undefined) return undefined;
    return this.#networks.refresh(id, () => this.#measureNetwork(netnsPath), freshMs);
  }

  #refreshLayers(containers: readonly Container[]): readonly (Promise<void> | undefined)[] {
    return containers.map(({ id }) => this.#layers.refresh(id, () => this.#measureLayer(id)));
  }

  #refreshReport(sandbox: Sandbox): Promise<void> | undefined {
    const meter = this.#deps.meterOf?.(sandbox);
    if (meter === undefined) return undefined;
    const { id } = sandbox;
    return this.#reports.refresh(id, async () => {
      const usage = await meter.usage(sandbox);
      const rate = this.#reports.last(id)?.rate ?? new CpuRate();
      const cpuNs = usage?.cpuNs;
      const nanoCores = cpuNs === undefined ? undefined : rate.add(cpuNs, this.#nowMs());
      return { usage, nanoCores, rate };
    });
  }

  #stamp(usage: NonNullable<ReturnType<CgroupFiles["parse"]>>, rate: CpuRate): ResourceUsage {
    const { cpu } = usage;
    return {
      ...usage,
      takenAtNs: wallNs(this.#deps.clock),
      cpu: cpu && { ...cpu, usageNanoCores: rate.add(cpu.usageNs, this.#nowMs()) },
    };
  }

  async #measureNetwork(net: string): Promise<NetworkUsage> {
    const text = await this.#netDevs.get(net);
    if (text === null) throw new Error("the namespace cannot be read");
    return { takenAtNs: wallNs(this.#deps.clock), interfaces: parseNetDev(text) };
  }

  async #measureLayer(id: string): Promise<LayerUsage> {
    const { roots, clock } = this.#deps;
    const { bytes, inodes } = await roots.usage(id);
    return { takenAtNs: wallNs(clock), mountpoint: roots.directory, bytes, inodes };
  }

  /** The next call tries again after a failure, for example without a free descriptor. */
  async #loadOnce(): Promise<HostFigures> {
    try {
      return await this.#loadFigures();
    } finally {
      this.#loading = undefined;
    }
  }

  /** Loads the code of the figures when they are first requested. */
  async #loadFigures(): Promise<HostFigures> {
    const { HostFigures, thisKernel } = await import("./host-figures.ts");
    const { cgroups, clock, roots, cachesFiles, figureKernel } = this.#deps;
    this.#figures = new HostFigures({
      cgroups,
      clock,
      nowMs: this.#nowMs,
      freshMs: figuresMs,
      patienceMs: this.#patienceMs,
      directory: roots.directory,
      kernel: figureKernel ?? thisKernel(cachesFiles ?? true),
    });
    return this.#figures;
  }
}

function hostFiles(cachesFiles: boolean): KernelFiles {
  const cache = new CgroupFdCache(undefined, cachesFiles ? {} : { descriptors: 0 });
  return { hold: (paths) => cache.add(paths), readInNamespaces: readFileInNamespaces };
}

/** The reported usage instead of that of the pod's cgroup; pressure only the kernel knows. */
function withReport(
  measured: ResourceUsage | undefined,
  reported: Reported | undefined,
): ResourceUsage | undefined {
  const { usage, nanoCores } = reported ?? {};
  if (usage === undefined) return measured;
  const { takenAtNs, cpuNs, memory, tasks } = usage;
  return {
    takenAtNs,
    cpu:
      cpuNs === undefined
        ? measured?.cpu
        : { usageNs: cpuNs, usageNanoCores: nanoCores, pressure: measured?.cpu?.pressure },
    memory:
      memory === undefined ? measured?.memory : { ...memory, pressure: measured?.memory?.pressure },
    swap: measured?.swap,
    ioPressure: measured?.ioPressure,
    tasks: tasks ?? measured?.tasks,
  };
}
