import type { TestContext } from "node:test";
import type { Digest } from "../../base/digest.ts";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { LogFields, Logger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { chainsOf, ContainerStore, layersOf } from "../../core/container/index.ts";
import { ImageStore, noPullObserver } from "../../core/image/index.ts";
import { Operations } from "../../core/operation/index.ts";
import { type SandboxController, SandboxStore } from "../../core/sandbox/index.ts";
import type { ContainerContext } from "../container/index.ts";
import {
  createContainer,
  defaultContainerTimes,
  recoverContainers,
  removeContainersOf,
  startContainer,
  CancellableOperations,
  stopContainersOf,
} from "../container/index.ts";
import type { NodeEvent } from "../events/node-event.ts";
import { InflightCreates } from "../lifecycle/inflight-creates.ts";
import { FailedTeardowns } from "../lifecycle/failed-teardowns.ts";
import {
  Collected,
  type ImageContext,
  pullImage,
  PullProgress,
  Pulls,
  removeUnusedLayers,
} from "../image/index.ts";
import { Janitor } from "../lifecycle/janitor.ts";
import { Leases, type RemovePod } from "../lifecycle/leases.ts";
import { RemoveAfter } from "../lifecycle/remove-after.ts";
import { WriteBehindRecords } from "../../drivers/records/index.ts";
import { Attachments, defaultPatience, NetworkTeardown } from "../network/index.ts";
import {
  defaultTimes,
  recoverSandboxes,
  removeUnattended,
  runPodSandbox,
  type SandboxContext,
} from "../sandbox/index.ts";
import { FakeArchives } from "./fake-archives.ts";
import { FakeCgroups } from "./fake-cgroups.ts";
import { FakeChecker } from "./fake-checker.ts";
import { FakeCheckpoints } from "./fake-checkpoints.ts";
import { FakeController } from "./fake-controller.ts";
import { FakeEgress } from "./fake-egress.ts";
import { FakeHandlers } from "./fake-handlers.ts";
import { FakeHost } from "./fake-host.ts";
import { FakeNetwork } from "./fake-network.ts";
import { FakePlugins } from "./fake-plugins.ts";
import { FakeRecords } from "./fake-records.ts";
import { FakeRootFiles } from "./fake-root-files.ts";
import { FakeRuntime } from "./fake-runtime.ts";
import { FakeLogs } from "./fake-logs.ts";
import { FakeLayers } from "./fake-layers.ts";
import { FakePacker } from "./fake-packer.ts";
import { FakeRoots } from "./fake-roots.ts";
import { FakeSource } from "./fake-source.ts";
import { FakeSpecs } from "./fake-specs.ts";
import { ManualTime } from "./manual-time.ts";
import { containerRequest, podRequest } from "./objects.ts";
import { StageFaults } from "./stage-faults.ts";

/** A caller that never disconnects. */
export const never = new AbortController().signal;

/** What outlives a daemon: its host with the objects of the drivers, the database, the registries. */
export class FakeWorld {
  readonly time: ManualTime;
  readonly host = new FakeHost();
  readonly records = new FakeRecords();
  readonly source = new FakeSource();
  readonly archives = new FakeArchives();
  readonly packer = new FakePacker();
  readonly handlers = new FakeHandlers();
  readonly specs = new FakeSpecs();
  readonly rootFiles = new FakeRootFiles();
  readonly logs = new FakeLogs();
  readonly checkpoints = new FakeCheckpoints();
  readonly plugins = new FakePlugins();
  readonly cgroups: FakeCgroups;
  readonly controller: FakeController;
  readonly network: FakeNetwork;
  readonly egress = new FakeEgress();
  readonly runtime: FakeRuntime;
  readonly layers: FakeLayers;
  readonly checker: FakeChecker;
  readonly roots: FakeRoots;
  bootId = "boot-1";

  constructor(t: TestContext) {
    this.time = new ManualTime(t);
    this.cgroups = new FakeCgroups(this.host);
    this.controller = new FakeController({ host: this.host, clock: this.time });
    this.network = new FakeNetwork(this.host, this.bootId);
    this.runtime = new FakeRuntime(this.host, this.time);
    this.layers = new FakeLayers(this.time);
    this.checker = new FakeChecker(this.layers);
    this.roots = new FakeRoots(this.host, this.layers);
  }

  /** Resets the host: the next engine runs in another boot. */
  reboot(): void {
    this.host.reboot();
    this.bootId = "boot-2";
    this.network.bootId = this.bootId;
  }

  /** Releases all calls that hang. */
  releaseAll(): void {
    const { records, source, archives, packer, specs, rootFiles, cgroups } = this;
    const { controller, network, runtime, layers, roots, plugins, egress, checkpoints } = this;
    for (const each of [
      records,
      checkpoints,
      plugins,
      egress,
      source,
      archives,
      packer,
      specs,
      rootFiles,
      cgroups,
      controller,
      network,
      runtime,
      layers,
      roots,
    ]) {
      each.trouble.releaseAll();
    }
  }
}

/** How the engine of a test differs from the default one. */
export interface FakeEngineOptions {
  readonly world?: FakeWorld;
  readonly controllers?: readonly SandboxController[];
  readonly sandboxes?: Partial<SandboxContext>;
  readonly containers?: Partial<ContainerContext>;
  readonly images?: Partial<ImageContext>;
}

/** A line of the engine's log. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: LogFields;
}

/** An engine on fakes of all its ports, built as in the daemon, and ended with its test. */
export class FakeEngine {
  readonly world: FakeWorld;
  readonly faults = new StageFaults();
  readonly log: LogLine[] = [];
  readonly events: NodeEvent[] = [];
  readonly late: WriteBehindRecords;
  readonly leases: Leases;
  readonly removeAfter: RemoveAfter;
  readonly sandboxes: SandboxContext;
  readonly containers: ContainerContext;
  readonly images: ImageContext;
  readonly #t: TestContext;
  readonly #options: FakeEngineOptions;

  constructor(t: TestContext, options: FakeEngineOptions = {}) {
    this.#t = t;
    this.#options = options;
    this.world = options.world ?? new FakeWorld(t);
    const { time: clock, bootId, layers } = this.world;
    const log = logInto(this.log);
    this.late = new WriteBehindRecords(this.world.records, log);
    const tasks = new TaskGroup(log);
    const operations = new Operations({ faults: this.faults, clock });
    const janitor = new Janitor({ tasks, log });
    const inflightCreates = new InflightCreates({ tasks, clock, holdMs: defaultTimes.holdMs });
    const failedTeardowns = new FailedTeardowns(clock);
    const owners = { operations, janitor, inflightCreates, failedTeardowns, tasks };
    const plugins = this.world.plugins.ofEngine();
    const shared = { ...owners, clock, log, bootId, locks: new KeyedLock(), plugins };
    const store = new SandboxStore(this.late.sandboxes);
    const containerStore = new ContainerStore(this.late.containers);
    this.images = {
      ...shared,
      store: new ImageStore(this.world.records.images),
      source: this.world.source,
      archives: this.world.archives,
      packer: this.world.packer,
      checker: this.world.checker,
      layers,
      pulls: new Pulls(tasks),
      progress: new PullProgress((diffId) => layers.has(diffId)),
      observer: noPullObserver,
      limits: { layers: 500, unpackedBytes: 0, unpackedRatio: 0, layerEntries: 0 },
      maxDownloads: 3,
      trustPresentLayers: false,
      chainsInUse: () => [...containerStore.all()].flatMap(chainsOf),
      neededBySnapshots: () => new Set(),
      isUseUnknown: () => false,
      recordsSynced: () => this.late.synced(),
      keepLayersMs: 600_000,
      onUsed: () => undefined,
      onEvent: (event) => this.events.push(event),
      collected: new Collected(),
      ...options.images,
    };
    this.containers = this.#containerContext(shared, containerStore, store);
    const removePod: RemovePod = (id, how) => removeUnattended(this.sandboxes, id, how);
    this.leases = new Leases({ ...shared, store, removePod });
    const stores = { sandboxes: store, containers: containerStore };
    this.removeAfter = new RemoveAfter({ ...shared, ...stores, removePod });
    this.sandboxes = this.#sandboxContext(shared, store);
    t.after(() => this.end());
  }

  #containerContext(
    shared: Shared,
    store: ContainerStore,
    sandboxes: SandboxStore,
  ): ContainerContext {
    const { world } = this;
    return {
      ...shared,
      store,
      sandboxes,
      images: this.images.store,
      onImageUsed: this.images.onUsed,
      roots: world.roots,
      rootFiles: world.rootFiles,
      specs: world.specs,
      logs: world.logs,
      checkpoints: {
        open: async () => ({ files: world.checkpoints, outputs: world.checkpoints }),
        restore: "own",
        restoreContainers: true,
        layers: {
          hold: (layers) => this.images.pulls.claim(layers),
          complete: (layers, signal) => world.layers.complete(layers, signal),
          archive: (layer, signal) => world.packer.archive(layer, signal),
          removeUnused: (layers) => removeUnusedLayers(this.images, layers),
        },
      },
      layerLimitOf: () => 0,
      ignoreVolumes: false,
      runtimes: [world.runtime],
      runtimeOf: () => world.runtime,
      prewarmCgroupMigration: () => undefined,
      environmentOf: (sandbox) => world.controller.environment(sandbox),
      cancellable: new CancellableOperations(),
      captured: new Set(),
      oomKills: { of: () => undefined, total: 0 },
      usage: () => Promise.resolve({ takenAtNs: world.time.nowNs(), cpuNs: 5n, pids: 1n }),
      onRemoved: (container) => {
        const used: readonly Digest[] = layersOf(container);
        shared.tasks.spawn("remove layers", () => removeUnusedLayers(this.images, used));
      },
      times: defaultContainerTimes,
      ...this.#options.containers,
    };
  }

  #sandboxContext(shared: Shared, store: SandboxStore): SandboxContext {
    const { world } = this;
    const { late } = this;
    const { records } = world;
    const attachments = new Attachments(late.attachments, records.notes);
    const controllers = this.#options.controllers ?? [world.controller];
    return {
      ...shared,
      store,
      controllers: new Map(controllers.map((each) => [each.name, each])),
      handlers: world.handlers,
      networkOf: () => world.network,
      egress: world.egress,
      attachments,
      teardown: new NetworkTeardown({
        ...shared,
        network: world.network,
        attachments,
        patience: defaultPatience,
      }),
      containers: {
        listedOf: (id) => this.containers.store.listedOf(id),
        stopAll: (id, graceMs) => stopContainersOf(this.containers, id, graceMs),
        removeAll: (id) => removeContainersOf(this.containers, id),
      },
      cgroups: world.cgroups,
      namespaces: world.controller.namespaces,
      leases: this.leases,
      times: defaultTimes,
      ...this.#options.sandboxes,
    };
  }

  /** Runs a pod and returns its id. */
  async run(...[config, handler]: Parameters<typeof podRequest>): Promise<string> {
    return runPodSandbox(this.sandboxes, podRequest(config, handler), never);
  }

  /** Pulls the image "app" unless it is present. */
  async pull(name = "app"): Promise<Digest> {
    const known = this.images.store.find(name);
    if (known !== undefined) return known.id;
    this.world.source.publish(name, { layers: ["base", name] });
    return pullImage(this.images, { name, auth: undefined }, never);
  }

  /** Creates a container in a sandbox and returns its id. */
  async create(...[sandboxId, config]: Parameters<typeof containerRequest>): Promise<string> {
    await this.pull();
    return createContainer(this.containers, containerRequest(sandboxId, config), never);
  }

  /** Creates a container in a sandbox and starts it. */
  async start(...[sandboxId, config]: Parameters<typeof containerRequest>): Promise<string> {
    const id = await this.create(sandboxId, config);
    await startContainer(this.containers, id, never);
    return id;
  }

  /** Ends this engine and creates the next one on the same world, not recovered yet. */
  async restart(options: Omit<FakeEngineOptions, "world"> = {}): Promise<FakeEngine> {
    await this.end();
    this.world.runtime.forgetAll();
    return new FakeEngine(this.#t, { ...this.#options, ...options, world: this.world });
  }

  /** Recovers sandboxes, images and containers, as a daemon does at its start. */
  async recover(): Promise<void> {
    const { operations, log } = this.containers;
    this.images.store.load();
    await recoverSandboxes(this.sandboxes, this.late);
    const options = {
      name: "recover-containers",
      subject: "all",
      timeoutMs: 120_000,
      log,
    } as const;
    await operations.run(options, (operation) =>
      recoverContainers(this.containers, this.late, operation),
    );
  }

  /** The messages of its log at this level. */
  logged(level: string): readonly string[] {
    return this.log.filter((line) => line.level === level).map(({ message }) => message);
  }

  /** Ends what runs in the background. */
  async end(): Promise<void> {
    this.faults.releaseAll();
    this.world.releaseAll();
    const { inflightCreates, janitor, teardown, tasks } = this.sandboxes;
    this.leases[Symbol.dispose]();
    this.removeAfter[Symbol.dispose]();
    inflightCreates[Symbol.dispose]();
    janitor[Symbol.dispose]();
    teardown[Symbol.dispose]();
    await tasks[Symbol.asyncDispose]();
    this.late[Symbol.dispose]();
  }
}

type Shared = Pick<
  SandboxContext,
  | "operations"
  | "inflightCreates"
  | "janitor"
  | "failedTeardowns"
  | "locks"
  | "tasks"
  | "clock"
  | "log"
  | "bootId"
  | "plugins"
>;

function logInto(lines: LogLine[], always: LogFields = {}): Logger {
  const at = (level: string) => (message: string, fields?: LogFields) => {
    lines.push({ level, message, fields: { ...always, ...fields } });
  };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => logInto(lines, { ...always, ...fields }),
  };
}
