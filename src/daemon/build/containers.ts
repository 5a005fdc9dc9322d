import { RuntimeError } from "../../base/errors.ts";
import type { Config } from "../../config/config.ts";
import { chainsOf, ContainerStore, layersOf, type OomEvents } from "../../core/container/index.ts";
import { ImageStore, type PullObserver } from "../../core/image/index.ts";
import {
  hasLayerLimit,
  layerLimitOf,
  type Sandbox,
  type SandboxController,
  type SandboxStore,
} from "../../core/sandbox/index.ts";
import { OciRuntime } from "../../drivers/oci/index.ts";
import { openOverlay } from "../../drivers/overlay/index.ts";
import type { WriteBehindRecords } from "../../drivers/records/index.ts";
import { Archives, configuredRegistry } from "../../drivers/registry/index.ts";
import type { ShimRuntime } from "../../drivers/shim/index.ts";
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
} from "../../engine/container/index.ts";
import {
  Collected,
  type ImageContext,
  PullProgress,
  Pulls,
  removeUnusedLayers,
} from "../../engine/image/index.ts";
import type { Tuning } from "../tuning/tuning.ts";
import { type CgroupLayout, countOomKilled, watchOomEvents } from "../../linux/cgroup/index.ts";
import type { ConfiguredHandlers } from "../../drivers/handlers/index.ts";
import { decryptionOf } from "./decryption.ts";
import { classesOf } from "./classes.ts";
import { type ImageGc, imageGcOf } from "./image-gc.ts";
import { seccompOf } from "./seccomp.ts";
import { verificationOf } from "./verification.ts";
import { linkedLogs } from "../process/linked-logs.ts";

interface Parts {
  readonly config: Config;
  readonly records: Pick<WriteBehindRecords, "containers" | "images" | "setAside">;
  readonly layout: CgroupLayout;
  readonly tuning: Tuning;
  readonly handlers: ConfiguredHandlers;
  readonly sandboxes: SandboxStore;
  readonly controllers: ReadonlyMap<string, SandboxController>;
  /** Undefined where no handler has a shim. */
  readonly shims: ShimRuntime | undefined;
  readonly selinux: Selinux | undefined;
  readonly pullObserver: PullObserver;
  /** Collects the parts that are closed with the daemon. */
  readonly undo: AsyncDisposableStack;
}

type Shared = Pick<
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
}

function limitsOf(images: Config["images"]): ImageContext["limits"] {
  return {
    layers: images.maxLayers,
    unpackedBytes: images.maxUnpackedBytes,
    unpackedRatio: images.maxUnpackedRatio,
    layerEntries: images.maxLayerEntries,
  };
}

function openArchives(root: string, { log, tasks }: Shared): Archives {
  const archives = new Archives({ root, log });
  tasks.spawn("remove archives of the last run", () => archives.sweep());
  return archives;
}

/** Builds the contexts of images and containers. */
export async function buildContainers(parts: Parts, shared: Shared): Promise<BuiltContainers> {
  const { config, records, layout, handlers } = parts;
  const { root, writableRoot } = config;
  const { clock, log, tasks, operations } = shared;
  const createMs = config.runtime.createTimeoutSeconds * 1000;
  const turns = { running: config.images.maxConcurrentUnpacks };
  const { roots, ...onDisk } = await openOverlay({
    root,
    writableRoot,
    firstProject: firstProject(config.runtime),
    log,
    tasks,
    turns,
    format: config.images.layerFormat,
    verity: config.images.layerVerity,
  });
  const { layers } = onDisk;
  parts.undo.defer(() => roots.close());
  const runtime = await OciRuntime.open({
    state: config.state,
    cgroups: layout,
    expectMigration: (isOver) => {
      parts.tuning.expectCgroupMigration(layout, isOver);
    },
    onStep: operations.step,
    clock,
    log,
    conmonPath: config.runtime.monitorPath,
    logRoots: config.runtime.logRoots,
  });
  parts.undo.defer(() => runtime.close());
  for (const warning of [apparmorObstacle(), linkedLogs(config.runtime.logRoots)]) {
    if (warning !== undefined) log.warn(warning);
  }
  const { shims } = parts;
  const archives = openArchives(config.root, shared);
  const store = new ContainerStore(records.containers);
  const oomKills = parts.undo.use(oomKillsOf(parts, { store, clock, log }));
  const deniedCalls = parts.undo.use(
    new DeniedCalls({
      store,
      sandboxes: parts.sandboxes,
      log,
      stop: (id) => endById(containers, id, 0),
    }),
  );
  const seccomp = parts.undo.use(await seccompOf(config.state, deniedCalls, log));
  const gc = imageGcOf(config, () => ({ images, containers }), records);
  parts.undo.use(gc);
  const images = await imagesOf({ ...parts, ...onDisk, gc, archives }, shared, store);
  const limits = layerLimits(config.runtime, handlers);
  const containers: ContainerContext = {
    ...shared,
    store,
    sandboxes: parts.sandboxes,
    images: images.store,
    verification: images.verification,
    onImageUsed: images.onUsed,
    roots,
    rootFiles: rootUsers,
    specs: specsOf(parts, shared, {
      isLayerLimited: limits.isSet,
      seccompListener: seccomp.listen,
    }),
    layerLimitOf: limits.of,
    ignoreVolumes: config.images.volumes === "ignore",
    runtimes: shims === undefined ? [runtime] : [runtime, shims],
    runtimeOf: ({ runtimeType }) => (runtimeType === undefined ? runtime : (shims ?? runtime)),
    prewarmCgroupMigration: () => {
      parts.tuning.prewarmCgroupMigration(layout);
    },
    environmentOf: (sandbox) => controllerOf(parts, sandbox).environment(sandbox),
    cancellable: new CancellableOperations(),
    oomKills,
    deniedCalls,
    onRemoved: (container) => {
      const used = layersOf(container);
      tasks.spawn("remove unused layers", () => removeUnusedLayers(images, used));
    },
    times: { ...defaultContainerTimes, createMs, startMs: createMs },
    createMsOf: handlers.createMsOf,
  };
  const waitingUnpackers = (): number => layers.waitingUnpackers;
  return {
    images,
    containers,
    gc,
    waitingUnpackers,
    layerFormat: layers.format,
    layerVerity: layers.verity,
  };
}

function specsOf(
  { config, layout, handlers, selinux }: Parts,
  { log, tasks }: Shared,
  own: {
    readonly isLayerLimited: (sandbox: Sandbox) => boolean;
    readonly seccompListener: () => Promise<string>;
  },
): HostContainerSpecs {
  return new HostContainerSpecs({
    ...own,
    classes: classesOf(config, { layout, log, tasks }),
    host: readSpecHost(layout),
    cdiDirectories: config.cdi.enable ? config.cdi.specDirs : undefined,
    selinux,
    devicesOfUser: config.runtime.deviceOwnershipFromSecurityContext,
    refusesPtrace: config.runtime.ptraceInSharedPid === "refuse",
    allowSocketcall: config.runtime.seccompAllowSocketcall,
    featuresOf: (sandbox) => handlers.runtimeFeatures(sandbox.handler),
    settingsOf: (sandbox) => handlers.settings(sandbox.handler),
  });
}

async function imagesOf(
  {
    config,
    records,
    pullObserver,
    gc,
    archives,
    layers,
    packer,
    checker,
  }: Parts & { readonly gc: ImageGc } & Pick<
      ImageContext,
      "archives" | "layers" | "packer" | "checker"
    >,
  { operations, janitor, tasks, clock, log }: Shared,
  store: ContainerStore,
): Promise<ImageContext> {
  const registry = configuredRegistry(config.images, { env: process.env, log, clock });
  return {
    store: new ImageStore(records.images, config.images.pinned, registry),
    source: registry.source,
    verification: await verificationOf(config, { registry: registry.source, log }),
    decryption: decryptionOf(config, log),
    archives,
    layers,
    packer,
    checker,
    pulls: new Pulls(tasks),
    progress: new PullProgress((diffId) => layers.has(diffId)),
    observer: pullObserver,
    limits: limitsOf(config.images),
    maxDownloads: config.images.maxConcurrentDownloads,
    trustPresentLayers: config.images.trustPresentLayers,
    operations,
    janitor,
    tasks,
    clock,
    log,
    chainsInUse: () => [...store.all()].flatMap(chainsOf),
    isUseUnknown: () =>
      records.setAside().some(({ kind }) => kind === "image" || kind === "container"),
    keepLayersMs: config.images.gcUnusedLayersSeconds * 1000,
    onUsed: (image) => {
      gc.used(image);
    },
    collected: new Collected(),
  };
}

function oomKillsOf(
  { layout, sandboxes }: Pick<Parts, "layout" | "sandboxes">,
  deps: Pick<ContainerContext, "store" | "clock" | "log">,
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
