import { existsSync } from "node:fs";
import { join } from "node:path";
import { KeyedLock } from "../../base/keyed-lock.ts";
import type { Logger } from "../../base/logger.ts";
import { TaskGroup } from "../../base/task-group.ts";
import { type Clock, systemClock } from "../../base/time.ts";
import type { Config } from "../../config/config.ts";
import { withoutSecrets } from "../../config/without-secrets.ts";
import { logLineBytes } from "../../core/container/index.ts";
import { type Faults, Operations } from "../../core/operation/index.ts";
import {
  isAloneInCgroup,
  type Sandbox,
  type SandboxController,
  SandboxStore,
} from "../../core/sandbox/index.ts";
import type { CriContext } from "../../cri/index.ts";
import { PodCgroupsByDriver } from "../../drivers/cgroups/index.ts";
import { PodSandboxController } from "../../drivers/podsandbox/index.ts";
import { FileAttachmentNotes, Records, WriteBehindRecords } from "../../drivers/records/index.ts";
import { Selinux } from "../../drivers/host-spec/index.ts";
import type { ShimController, ShimRuntime } from "../../drivers/shim/index.ts";
import { Attachments, defaultPatience, NetworkTeardown } from "../../engine/network/index.ts";
import { removeContainersOf, stopContainersOf } from "../../engine/container/index.ts";
import { InflightCreates } from "../../engine/lifecycle/inflight-creates.ts";
import { FailedTeardowns } from "../../engine/lifecycle/failed-teardowns.ts";
import { Janitor } from "../../engine/lifecycle/janitor.ts";
import { defaultTimes, type SandboxContext } from "../../engine/sandbox/index.ts";
import type { CgroupLayout } from "../../linux/cgroup/index.ts";
import { hostBootId } from "../../linux/host/index.ts";
import { NamespaceWatch } from "../../linux/namespace/index.ts";
import { buildContainers } from "./containers.ts";
import { cadvisorOf } from "./cadvisor-later.ts";
import type * as ShimParts from "./shims.ts";
import { openStreaming } from "./streaming.ts";
import type { Tuning } from "../tuning/tuning.ts";
import type { CallView } from "../process/calls.ts";
import type { LiveConfig } from "../process/live-config.ts";
import { feedOf, nodeEventsOf } from "./events.ts";
import { gaugesOf } from "./gauges.ts";
import { handlerHoldback, handlersOf } from "./handlers.ts";
import { keepHistory } from "./history.ts";
import type { Measured, Metrics } from "./metrics.ts";
import { Networks } from "./networks.ts";
import { type BuiltPlugins, pluginsOf } from "./plugins.ts";
import { recoverAll } from "./recover.ts";
import { removalsOf } from "./removals.ts";
import { snapshotsOf } from "./snapshots.ts";
import { statsOf } from "./stats.ts";
import { usableCgroups } from "./usable-cgroups.ts";

/** What a controller from outside this build can work with. */
export interface ControllerParts {
  /** The state directory of the configuration. */
  readonly state: string;
  /** Where it must register the network namespaces that it pins: a pod's address depends on it. */
  readonly namespaces: NamespaceWatch;
}

/** What a build can be given besides the configuration. */
export interface BuildOptions {
  readonly version: string;
  readonly log: Logger;
  readonly faults: Faults;
  /** Makes additional controllers; one with the name of a built-in one replaces it. */
  readonly controllers?: (parts: ControllerParts) => readonly SandboxController[];
  /** The boot id to use in place of the kernel's. */
  readonly bootId?: string;
  readonly tuning: Tuning;
  /** The calls that clients wait for now. */
  readonly calls: () => readonly CallView[];
  /** The configuration in use. */
  readonly live: LiveConfig;
  readonly reload: CriContext["reload"];
  /** Observes pulls and plugins; undefined without metrics. */
  readonly metrics: () => Pick<Metrics, "pulls" | "pluginRun" | "nriCall"> | undefined;
}

/** A daemon's parts, before it serves. */
export interface Built extends AsyncDisposable {
  readonly cri: CriContext;
  /** Restores what the last daemon left. */
  recover(): Promise<void>;
  /** What metrics show of parts that the contexts of `cri` do not have. */
  readonly gauges: Measured["gauges"];
}

/** Builds the daemon: the only place that chooses a driver for each interface. */
export async function build(options: BuildOptions): Promise<Built> {
  await using undo = new AsyncDisposableStack();
  const { log, live } = options;
  const config = live.value;
  const clock = systemClock;
  const bootId = options.bootId ?? hostBootId();

  const { database, records } = openRecords(config.root, undo, log);
  const layout = usableCgroups(config.runtime.cgroupDriver, log);
  const selinux = config.runtime.selinux ? Selinux.open() : undefined;
  const namespaces = undo.use(new NamespaceWatch());
  const store = new SandboxStore(records.sandboxes);
  const isAlone = aloneCheck(store, records);
  const parts = { state: config.state, cgroups: layout, namespaces, isAlone, clock, log };
  const networks = undo.use(await networksOf({ ...options, bootId }));
  const opened = await openControllers(database, parts, { ...options, config }, undo);
  const { shimParts, shims, controllers, meter } = opened;
  const handlers = handlersOf(live, shimParts);

  const operations = operationsOf(options, undo);
  const { nodeEvents, onEvent } = nodeEventsOf(clock, log);
  const plugins = undo.use(pluginsOf(live, { ...options, onEvent, containers: () => containers }));
  // What background work of the engine uses until it has ended.
  const ends = undo.use(new AsyncDisposableStack());
  const base = { live, records, networks, operations, plugins, clock, log };
  const engine = undo.use(buildEngine(base));
  const shared = { ...engine.parts, operations, clock, log, bootId, onEvent };
  const snapshots = snapshotsOf(live, () => containers, log);
  const drivers = { live, records, layout, handlers, selinux, controllers, shims };
  const { tuning } = options;
  const pullObserver = () => options.metrics()?.pulls;
  const neededBySnapshots = snapshots.imageDigests;
  const built = await buildContainers(
    { ...drivers, tuning, pullObserver, neededBySnapshots, sandboxes: store, undo: ends },
    shared,
  );
  const { images, containers, waitingUnpackers, gc } = built;
  const about = { ...options, ...built };
  const stores = { sandboxes: store, containers: containers.store };
  const removals = removalsOf({ ...shared, ...stores, store }, () => sandboxes, undo);
  const sandboxes: SandboxContext = {
    ...shared,
    store,
    controllers,
    handlers,
    createMsOf: handlers.createMsOf,
    containers: containersOf(containers),
    networkOf: (handler) => networks.of(handler),
    egress,
    cgroups: new PodCgroupsByDriver(layout, config.runtime.cgroupDriver),
    labels: selinux,
    ownIds: await ownIdsOf(live, log),
    namespaces,
    leases: removals.leases,
  };
  const has = { shims: shims !== undefined, layerLimits: built.hasLayerLimits };
  live.holdBack(handlerHoldback({ ...has, ownIds: sandboxes.ownIds !== undefined }));
  warmUp(engine.parts.tasks, { handlers, tuning, layout, log });

  const urls = undo.use(await openStreaming(live, { containers, sandboxes }));
  const cadvisor = undo.use(cadvisorOf(config, { ...options, ...stores, layout }));
  const contexts = { sandboxes, containers, images, nodeEvents };
  const observers = [plugins, cadvisor, gc, removals];
  const kept = undo.move();
  return {
    cri: {
      ...contexts,
      ...factsOfStart(options),
      events: feedOf(sandboxes, containers.store, config.server),
      leases: removals.leases,
      snapshots: snapshots.open,
      urls,
      stats: statsOf({ cgroups: layout, clock, meter, tuning }, containers),
      network: networks.default,
      handlers: () => handlers.features(),
      describe: () => factsOf(about, layout, database, records, observers),
    },
    gauges: gaugesOf(sandboxes, { networks, records, waitingUnpackers, urls }),
    recover: () =>
      recoverAll(contexts, { records, networks, config }).then(beginAll([snapshots, ...observers])),
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}

/** All operations, and the history of those that have ended. */
function operationsOf({ live, faults, log }: BuildOptions, undo: AsyncDisposableStack): Operations {
  const operations = new Operations({ faults, clock: systemClock });
  undo.use(keepHistory(operations, live.value.root, log));
  return operations;
}

function networksOf({
  live,
  bootId,
  log,
  metrics,
}: BuildOptions & { readonly bootId: string }): Promise<Networks> {
  return Networks.open(live, { bootId, log, onPluginRun: (run) => metrics()?.pluginRun(run) });
}

function openRecords(
  root: string,
  undo: AsyncDisposableStack,
  log: Logger,
): { readonly database: Records; readonly records: WriteBehindRecords } {
  const database = undo.use(Records.open(join(root, "davit.db"), { logger: log }));
  return { database, records: undo.use(new WriteBehindRecords(database, log)) };
}

/** What the CRI needs of the options and of settings that do not change. */
function factsOfStart({ version, live, reload, log }: BuildOptions) {
  const { server, runtime } = live.value;
  const { maxMessageBytes } = server;
  return { version, maxMessageBytes, cgroupDriver: runtime.cgroupDriver, reload, log };
}

/** Undefined where pods get user namespaces only if they ask. */
async function ownIdsOf(live: LiveConfig, log: Logger): Promise<SandboxContext["ownIds"]> {
  const modeOf = (handler: string): "requested" | "auto" => {
    const { handlers, userNamespaces: ofAll } = live.value.runtime;
    return handlers[handler]?.userNamespaces || ofAll;
  };
  const names = Object.keys(live.value.runtime.handlers);
  if (!names.some((name) => modeOf(name) === "auto")) return undefined;
  const { ownIdsPolicy } = await import("./own-ids.ts");
  return ownIdsPolicy(live.value, modeOf, log);
}

/**
 * Begins, one after the other, what needs restored objects: cAdvisor never asks again for what is not known
 * when it asks first, and a plugin takes what it is shown as the whole truth.
 */
function beginAll(parts: readonly { readonly begin: () => Promise<void> }[]): () => Promise<void> {
  return async () => {
    for (const part of parts) await part.begin();
  };
}

/** Whether a sandbox is alone in its cgroup. The cgroup of one whose record cannot be read is unknown. */
function aloneCheck(store: SandboxStore, records: WriteBehindRecords): (of: Sandbox) => boolean {
  return (sandbox) =>
    isAloneInCgroup(sandbox, store.all()) &&
    !records.setAside().some(({ kind }) => kind === "sandbox");
}

/** Loaded with the first pod whose egress is limited. */
const egress: SandboxContext["egress"] = {
  async limit(request, signal) {
    const { IptablesEgress } = await import("../../drivers/egress/index.ts");
    await new IptablesEgress().limit(request, signal);
  },
};

/** The longest log line of the default handler's containers, which containerd reports in `config`. */
function logLineSize({ handlers, defaultHandler, monitor }: Config["runtime"]): number {
  const isShim = (handlers[defaultHandler]?.runtimeType ?? "") !== "";
  return isShim || monitor === "davit" ? logLineBytes.davit : logLineBytes.conmon;
}

/** True where a handler has a shim, or where an earlier daemon may have left one. */
function mayHaveShims(config: Config, records: Records): boolean {
  return (
    Object.values(config.runtime.handlers).some(({ runtimeType }) => runtimeType !== "") ||
    existsSync(join(config.state, "shims")) ||
    records.counts().sandboxes > 0
  );
}

/** The controllers by name, built-in and given, and the runtime for containers of shims. */
async function openControllers(
  database: Records,
  parts: Omit<Parameters<(typeof ShimParts)["buildShims"]>[0], "logRoots">,
  options: Pick<BuildOptions, "controllers"> & { readonly config: Config },
  undo: AsyncDisposableStack,
): Promise<{
  readonly shimParts: typeof ShimParts | undefined;
  readonly shims: ShimRuntime | undefined;
  readonly controllers: ReadonlyMap<string, SandboxController>;
  readonly meter: ShimController | undefined;
}> {
  const { state, namespaces } = parts;
  const podsandbox = await PodSandboxController.open(parts);
  undo.defer(() => podsandbox.close());
  // A start without shims does not load their code. Loading blocks the event loop, so it comes after the
  // other steps of the start, and after the first calls.
  const withShims = mayHaveShims(options.config, database);
  const shimParts = withShims ? await import("./shims.ts") : undefined;
  const { logRoots } = options.config.runtime;
  const shims = await shimParts?.buildShims({ ...parts, logRoots }, undo);
  const all: readonly SandboxController[] = [
    podsandbox,
    ...(shims === undefined ? [] : [shims.controller]),
    ...(options.controllers?.({ state, namespaces }) ?? []),
  ];
  const controllers = new Map(all.map((each) => [each.name, each]));
  return { shimParts, shims: shims?.runtime, controllers, meter: shims?.controller };
}

/** What the verbs of sandboxes do with their containers. */
function containersOf(context: CriContext["containers"]): SandboxContext["containers"] {
  return {
    listedOf: (id) => context.store.listedOf(id),
    stopAll: (id, graceMs) => stopContainersOf(context, id, graceMs),
    removeAll: (id) => removeContainersOf(context, id),
  };
}

/** What the first pods need, and the socket does not wait for. */
function warmUp(
  tasks: EngineParts["tasks"],
  parts: Pick<BuildOptions, "tuning" | "log"> & {
    readonly handlers: ReturnType<typeof handlersOf>;
    readonly layout: CgroupLayout;
  },
): void {
  const { handlers, tuning, layout, log } = parts;
  tasks.spawn("ask the OCI runtimes for their features", () => handlers.probe(log));
  tasks.spawn("make moves into cgroups fast", () => tuning.speedUpCgroupMigration(layout));
}

/** What the verbose Status reports of the daemon itself and of its records. */
function factsOf(
  about: Pick<BuildOptions, "live" | "calls"> & {
    readonly layerFormat: string;
    readonly layerVerity: string;
  },
  cgroups: CgroupLayout,
  database: Records,
  late: WriteBehindRecords,
  parts: readonly { readonly facts: () => Readonly<Record<string, unknown>> }[],
): Readonly<Record<string, unknown>> {
  const current = withoutSecrets(about.live.value);
  return {
    config: { ...current, maxContainerLogLineSize: logLineSize(current.runtime) },
    cgroups,
    calls: about.calls(),
    layerFormat: about.layerFormat,
    layerVerity: about.layerVerity,
    node: process.version,
    records: database.counts(),
    recordsCanBeWritten: database.canBeWritten(),
    recordsOwed: late.pendingWrites(),
    recordsSetAside: database.setAside(),
    ...Object.fromEntries(parts.flatMap((part) => Object.entries(part.facts()))),
  };
}

interface EngineDeps {
  readonly live: LiveConfig;
  readonly records: WriteBehindRecords;
  readonly networks: Networks;
  readonly operations: Operations;
  /** Closed after the engine, whose verbs may be telling them something. */
  readonly plugins: BuiltPlugins;
  readonly clock: Clock;
  readonly log: Logger;
}

type EngineParts = Pick<
  SandboxContext,
  | "attachments"
  | "locks"
  | "teardown"
  | "inflightCreates"
  | "janitor"
  | "failedTeardowns"
  | "plugins"
  | "tasks"
  | "times"
>;

/** The parts of the engine that must be closed: before the drivers that they use. */
function buildEngine(deps: EngineDeps): AsyncDisposable & { readonly parts: EngineParts } {
  const { live, clock, log } = deps;
  const tasks = new TaskGroup(log);
  const times = {
    ...defaultTimes,
    get createMs() {
      return live.value.runtime.createTimeoutSeconds * 1000;
    },
    holdMs: live.value.runtime.retryHoldSeconds * 1000,
  };
  const directory = join(live.value.root, "attachments");
  const notes = new FileAttachmentNotes({ directory, log });
  const attachments = new Attachments(deps.records.attachments, notes);
  const teardown = new NetworkTeardown({
    network: deps.networks.default,
    attachments,
    tasks,
    clock,
    log,
    patience: defaultPatience,
  });
  const inflightCreates = new InflightCreates({ tasks, clock, holdMs: times.holdMs });
  const janitor = new Janitor({ tasks, log });
  const failedTeardowns = new FailedTeardowns(clock);
  const owners = { attachments, teardown, inflightCreates, janitor, failedTeardowns, tasks };
  return {
    parts: { ...owners, plugins: deps.plugins.plugins, locks: new KeyedLock(), times },
    async [Symbol.asyncDispose]() {
      inflightCreates[Symbol.dispose]();
      janitor[Symbol.dispose]();
      teardown[Symbol.dispose]();
      await tasks[Symbol.asyncDispose]();
    },
  };
}
