import { RuntimeError } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import { ContainerStore, layersOf, type OomEvents } from "../../core/container/index.ts";
import type { PullObserver } from "../../core/image/index.ts";
import {
  hasLayerLimit,
  layerLimitOf,
  type Sandbox,
  type SandboxController,
  type SandboxStore,
} from "../../core/sandbox/index.ts";
import { FileLogs } from "../../drivers/logs/index.ts";
import { OciRuntime } from "../../drivers/oci/index.ts";
import { openOverlay } from "../../drivers/overlay/index.ts";
import type { WriteBehindRecords } from "../../drivers/records/index.ts";
import type { ShimRuntime } from "../../drivers/shim/index.ts";
import { usageReader } from "../../drivers/stats/index.ts";
import {
  apparmorObstacle,
  HostContainerSpecs,
  readSpecHost,
  rootUsers,
  type Selinux,
} from "../../drivers/host-spec/index.ts";
import {
  type ContainerContext,
  defaultContainerTimes,
  CancellableOperations,
  DeniedCalls,
  endById,
  OomKills,
  runtimeOf,
} from "../../engine/container/index.ts";
import { type ImageContext, removeUnusedLayers } from "../../engine/image/index.ts";
import type { Tuning } from "../tuning/tuning.ts";
import { type CgroupLayout, countOomKilled, watchOomEvents } from "../../linux/cgroup/index.ts";
import type { ConfiguredHandlers } from "../../drivers/handlers/index.ts";
import { checkpointsOf } from "./checkpoints.ts";
import { classesOf } from "./classes.ts";
import { type ImageGc, imageGcOf } from "./image-gc.ts";
import { imagesOf } from "./images.ts";
import { seccompOf } from "./seccomp.ts";
import { linkedLogs } from "../process/linked-logs.ts";
import type { LiveConfig } from "../process/live-config.ts";

interface Parts {
  readonly live: LiveConfig;
  readonly records: Pick<WriteBehindRecords, "containers" | "images" | "setAside" | "synced">;
  readonly layout: CgroupLayout;
  readonly tuning: Tuning;
  readonly handlers: ConfiguredHandlers;
  readonly sandboxes: SandboxStore;
  readonly controllers: ReadonlyMap<string, SandboxController>;
  /** Undefined where no handler has a shim. */
  readonly shims: ShimRuntime | undefined;
  readonly selinux: Selinux | undefined;
  readonly pullObserver: () => PullObserver | undefined;
  /** Ids and digests of images that snapshots need. */
  readonly neededBySnapshots: () => ReadonlySet<string>;
  /** Collects the parts that are closed with the daemon. */
  readonly undo: AsyncDisposableStack;
}

type Shared = Pick<ImageContext, "onEvent"> &
  Pick<
    ContainerContext,
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

interface BuiltContainers {
  readonly images: ImageContext;
  readonly containers: ContainerContext;
  readonly gc: ImageGc;
  /** The number of unpackers that wait for a turn. */
  readonly waitingUnpackers: () => number;
  /** How new layers are stored, which is not as configured where the kernel does not support it. */
  readonly layerFormat: string;
  /** "on", or why images of layers have no fs-verity. */
  readonly layerVerity: string;
  /** Whether writable layers can have a limit. */
  readonly hasLayerLimits: boolean;
}

/** Builds the contexts of images and containers. */
export async function buildContainers(parts: Parts, shared: Shared): Promise<BuiltContainers> {
  const { live, records, layout, handlers, shims } = parts;
  const config = live.value;
  const { bootId, clock, log, tasks } = shared;
  const { roots, ...onDisk } = await openOverlay({
    root: config.root,
    writableRoot: config.writableRoot,
    firstProject: firstProject(config.runtime),
    log,
    tasks,
    bootId,
    turns: { running: config.images.maxConcurrentUnpacks },
    format: config.images.layerFormat,
    verity: config.images.layerVerity,
  });
  const { layers } = onDisk;
  parts.undo.defer(() => roots.close());
  const runtime = await openRuntime(parts, shared);
  const store = new ContainerStore(records.containers);
  const oomKills = parts.undo.use(oomKillsOf(parts, { ...shared, store }));
  const stop = (id: string): Promise<void> => endById(containers, id, 0);
  const { deniedCalls, seccomp } = await openSeccomp(parts, {
    ...{ store, log, stop },
    startedSpec: async (container) => runtimeOf(containers, container).spec(container.id),
  });
  const gc = imageGcOf(live, () => ({ images, containers }), records);
  parts.undo.use(gc);
  const images = await imagesOf({ ...parts, ...onDisk, gc, containers: store }, shared);
  const limits = layerLimits(config.runtime, handlers);
  const specs = specsOf(parts, shared, {
    isLayerLimited: limits.isSet,
    seccompListener: seccomp.listen,
  });
  const containers: ContainerContext = {
    ...shared,
    store,
    sandboxes: parts.sandboxes,
    images: images.store,
    get verification() {
      return images.verification;
    },
    onImageUsed: images.onUsed,
    roots,
    rootFiles: rootUsers,
    get specs() {
      return specs();
    },
    logs: new FileLogs(config.runtime.logRoots),
    checkpoints: checkpointsOf(live, onDisk, images),
    layerLimitOf: limits.of,
    get ignoreVolumes() {
      return live.value.images.volumes === "ignore";
    },
    runtimes: shims === undefined ? [runtime] : [runtime, shims],
    runtimeOf: ({ runtimeType }) => (runtimeType === undefined ? runtime : (shims ?? runtime)),
    prewarmCgroupMigration: () => {
      parts.tuning.prewarmCgroupMigration(layout);
    },
    environmentOf: (sandbox) => controllerOf(parts, sandbox).environment(sandbox),
    cancellable: new CancellableOperations(),
    captured: new Set(),
    oomKills,
    ...{ usage: usageReader(layout, clock), deniedCalls },
    onRemoved: (container) => {
      const used = layersOf(container);
      tasks.spawn("remove unused layers", () => removeUnusedLayers(images, used));
    },
    times: timesOf(live),
    createMsOf: handlers.createMsOf,
  };
  return {
    images,
    containers,
    gc,
    waitingUnpackers: () => layers.waitingUnpackers,
    layerFormat: layers.format,
    layerVerity: layers.verity,
    hasLayerLimits: firstProject(config.runtime) !== undefined,
  };
}

/** Where the runtime sends the filters of containers whose denied system calls are reported. */
async function openSeccomp(
  { live, sandboxes, undo }: Parts,
  deps: Omit<ConstructorParameters<typeof DeniedCalls>[0], "sandboxes">,
): Promise<{
  readonly deniedCalls: DeniedCalls;
  readonly seccomp: { readonly listen: () => Promise<string> };
}> {
  const deniedCalls = undo.use(new DeniedCalls({ ...deps, sandboxes }));
  const seccomp = undo.use(await seccompOf(live.value.state, deniedCalls, deps.log));
  return { deniedCalls, seccomp };
}

/** The runtime of handlers without a shim. */
async function openRuntime(
  { live, layout, tuning, undo }: Parts,
  { clock, log, operations }: Shared,
): Promise<OciRuntime> {
  const config = live.value;
  const runtime = await OciRuntime.open({
    state: config.state,
    cgroups: layout,
    expectMigration: (isOver) => {
      tuning.expectCgroupMigration(layout, isOver);
    },
    onStep: operations.step,
    usage: usageReader(layout, clock),
    clock,
    log,
    monitor: config.runtime.monitor,
    conmonPath: config.runtime.monitorPath,
    logSizeMax: config.runtime.logSizeMax,
    exec: config.runtime.exec,
    logRoots: config.runtime.logRoots,
  });
  undo.defer(() => runtime.close());
  for (const warning of [apparmorObstacle(), linkedLogs(config.runtime.logRoots)]) {
    if (warning !== undefined) log.warn(warning);
  }
  return runtime;
}

/** The times of containers by the configuration in use. */
function timesOf(live: LiveConfig): ContainerContext["times"] {
  const createMs = (): number => live.value.runtime.createTimeoutSeconds * 1000;
  return {
    ...defaultContainerTimes,
    get createMs() {
      return createMs();
    },
    get startMs() {
      return createMs();
    },
  };
}

/** The specs by the configuration in use. */
function specsOf(
  { live, layout, handlers, selinux }: Parts,
  { log, tasks }: Shared,
  own: Pick<
    ConstructorParameters<typeof HostContainerSpecs>[0],
    "isLayerLimited" | "seccompListener"
  >,
): () => HostContainerSpecs {
  const classes = classesOf(live.value, { layout, log, tasks });
  const host = readSpecHost(layout);
  const specsBy = ({ cdi, runtime }: Config): HostContainerSpecs =>
    new HostContainerSpecs({
      ...own,
      classes,
      host,
      cdiDirectories: cdi.enable ? cdi.specDirs : undefined,
      selinux,
      devicesOfUser: runtime.deviceOwnershipFromSecurityContext,
      refusesPtrace: runtime.ptraceInSharedPid === "refuse",
      allowSocketcall: runtime.seccompAllowSocketcall,
      featuresOf: (sandbox) => handlers.runtimeFeatures(sandbox.handler),
      settingsOf: (sandbox) => handlers.settings(sandbox.handler),
    });
  let specs = specsBy(live.value);
  live.add({
    prepare: ({ next }) => {
      const prepared = specsBy(next);
      return () => {
        specs = prepared;
      };
    },
  });
  return () => specs;
}

function oomKillsOf(
  { layout, sandboxes }: Pick<Parts, "layout" | "sandboxes">,
  deps: Pick<ContainerContext, "store" | "clock" | "log"> & Pick<ImageContext, "onEvent">,
): OomKills {
  const events: OomEvents = {
    watch: (path, onEvent) => watchOomEvents(layout, path, onEvent),
    count: (path) => countOomKilled(layout, path),
  };
  return new OomKills({ ...deps, sandboxes, events });
}

/** Undefined where no container has a limit. */
function firstProject(runtime: Config["runtime"]): number | undefined {
  const own = Object.values(runtime.handlers).map((handler) => handler.writableLayerLimit);
  const { writableLayerLimit, writableLayerLimitMax } = runtime;
  const isOn = [writableLayerLimit, writableLayerLimitMax, ...own].some((limit) => limit > 0);
  return isOn ? runtime.writableLayerFirstProject : undefined;
}

/** The limits of writable layers; none where the node has no project quotas for them. */
function layerLimits(
  runtime: Config["runtime"],
  handlers: ConfiguredHandlers,
): {
  readonly of: ContainerContext["layerLimitOf"];
  readonly isSet: (sandbox: Sandbox) => boolean;
} {
  if (firstProject(runtime) === undefined) return { of: () => 0, isSet: () => false };
  const { writableLayerLimit: ofAll, writableLayerLimitMax: most } = runtime;
  const nodeLimit = ({ handler }: Sandbox): number => {
    const own = handlers.settings(handler).writableLayerLimit;
    return own < 0 ? ofAll : own;
  };
  return {
    of: (sandbox) => layerLimitOf(sandbox.config, { limit: nodeLimit(sandbox), most }),
    isSet: (sandbox) => hasLayerLimit(sandbox.config, { limit: nodeLimit(sandbox) }),
  };
}

function controllerOf({ controllers }: Parts, sandbox: Sandbox): SandboxController {
  const controller = controllers.get(sandbox.handler.controller);
  if (controller !== undefined) return controller;
  throw new RuntimeError(
    "failed-precondition",
    `find controller of sandbox "${sandbox.id}": this daemon has no "${sandbox.handler.controller}"`,
  );
}
