import { isDeepStrictEqual } from "node:util";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type {
  BoundHandler,
  HandlerFeatures,
  HandlerSettings,
  Handlers,
  RuntimeFeatures,
} from "../../core/handler/index.ts";
import { userNamespaceObstacle } from "../../linux/namespace/index.ts";

/** A handler as the configuration defines it. Exactly one of `path` and `runtimeType` is set. */
export interface HandlerDefinition extends HandlerSettings {
  readonly controller: string;
  /** The OCI runtime. */
  readonly path: string;
  /** The type of a containerd shim. */
  readonly runtimeType: string;
  /** The shim's program; empty for the one that its type names. */
  readonly runtimePath: string;
  /** How the shim's containers get their streams. */
  readonly ioType: "fifo" | "streaming";
  /** Options for the shim, as the configuration has them. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** What the shim driver knows of shims; the daemon has it only where a handler may need a shim. */
export interface ShimKnowledge {
  /** Rejects a type or path for which there is no program. */
  shimProgram(type: string, path: string): string;
  /** Rejects options that a shim of this type would not understand. */
  encodeOptions(type: string, options: HandlerDefinition["options"], root: string): unknown;
  /** True for shims that run an OCI runtime as runc's shim does. */
  isRuncType(type: string): boolean;
  /** The OCI runtime that such a shim runs. */
  runtimeOfOptions(options: HandlerDefinition["options"]): string;
  /** Why such a shim cannot restore containers; undefined where it can. */
  obstacleToRestores(options: HandlerDefinition["options"]): string | undefined;
}

/** What the handlers are made of. */
export interface ConfiguredHandlersDeps {
  readonly defaultHandler: string;
  readonly handlers: Readonly<Record<string, HandlerDefinition>>;
  /** Absent where no handler has a shim. */
  readonly shims: ShimKnowledge | undefined;
  /** Asks the OCI runtime at a path, or of a name on PATH, for its features. */
  readonly readFeatures: (path: string) => Promise<RuntimeFeatures>;
}

/** The handlers of the configuration, and what their OCI runtimes can do. */
export class ConfiguredHandlers implements Handlers {
  #deps: ConfiguredHandlersDeps;
  #features: readonly HandlerFeatures[];
  /**
   * By the OCI runtime and not by handler: a pod keeps its runtime when a reload gives its handler another one. Read again
   * when a handler is new or changed.
   */
  readonly #runtimes = new Map<string, RuntimeFeatures>();
  /** By handler; resolved when its runtime has answered or has failed to. */
  readonly #asked: Map<string, PromiseWithResolvers<undefined>>;
  /** Handlers that a reload removed, for the pods that still run under them. */
  readonly #removed = new Map<string, HandlerDefinition>();

  constructor(deps: ConfiguredHandlersDeps) {
    this.#deps = deps;
    const names = Object.keys(deps.handlers);
    this.#asked = new Map(names.map((name) => [name, Promise.withResolvers<undefined>()]));
    this.#features = this.#withDefault(() => noFeatures);
  }

  bind(requested: string): BoundHandler {
    const name = requested === "" ? this.#deps.defaultHandler : requested;
    const handler = this.#definition(name);
    if (handler === undefined) {
      const known = Object.keys(this.#deps.handlers).sort().join(", ");
      throw new RuntimeError(
        "invalid-argument",
        `find runtime handler "${name}": it is not in the configuration, which has: ${known}; name one of them in the RuntimeClass, or add [runtime.handlers.${name}]`,
      );
    }
    return {
      requested,
      name,
      controller: handler.controller,
      ...(handler.path === "" ? {} : { path: handler.path }),
      ...(this.#deps.shims === undefined || handler.runtimeType === ""
        ? {}
        : shimOf(this.#deps.shims, handler)),
    };
  }

  /**
   * What each handler can do, the default handler first under the name "", then all by name. In the first
   * seconds of the daemon's life it waits for the runtimes' answers, 5 s at most.
   */
  async features(): Promise<readonly HandlerFeatures[]> {
    await Promise.all([...this.#asked.values()].map(({ promise }) => promise));
    return this.#features;
  }

  /**
   * What the OCI runtime of a sandbox's handler can do; if it has not answered, the features that every
   * runtime has. Waits as features() does.
   */
  async runtimeFeatures(bound: BoundHandler): Promise<RuntimeFeatures> {
    return (await this.#featuresOf(bound)) ?? leastFeatures;
  }

  async checkUserNamespaces(bound: BoundHandler): Promise<void> {
    const { name } = bound;
    const features = await this.#featuresOf(bound);
    const why = userNamespaceObstacle() ?? runtimeObstacle(features);
    if (why === undefined) return;
    throw new RuntimeError(
      "failed-precondition",
      `make a user namespace: handler "${name}" does not support it: ${why}; set hostUsers to true, or use another handler`,
    );
  }

  /** Those of a sandbox's own runtime, which no handler may name any more. */
  async #featuresOf(bound: BoundHandler): Promise<RuntimeFeatures | undefined> {
    await this.#asked.get(bound.name)?.promise;
    const program = ociRuntimeOf(this.#deps.shims, bound);
    const known = this.#runtimes.get(program);
    const configured = this.#definition(bound.name);
    if (known !== undefined || program === "") return known;
    // One that the configuration names has been asked.
    if (configured !== undefined && ociRuntimeOf(this.#deps.shims, configured) === program) return;
    const found = await this.#deps.readFeatures(program).catch(() => undefined);
    if (found !== undefined) this.#runtimes.set(program, found);
    return found;
  }

  /**
   * What the configuration now says of a sandbox's handler. Of one that a reload removed, what it said last; the
   * defaults if that was an earlier daemon.
   */
  settings({ name }: BoundHandler): HandlerSettings {
    return this.#definition(name) ?? this.#removed.get(name) ?? defaultSettings;
  }

  /**
   * Prepares other handlers, for new pods and new containers: asks the runtimes of those that are new or changed, and
   * rejects one that does not answer. Returns what puts them into use.
   */
  async prepare({
    defaultHandler,
    handlers,
  }: Pick<ConfiguredHandlersDeps, "defaultHandler" | "handlers">): Promise<() => void> {
    await this.features();
    const found = new Map<string, Tried>();
    for (const [name, handler] of Object.entries(handlers)) {
      if (isDeepStrictEqual(handler, this.#definition(name))) continue;
      try {
        found.set(name, await this.#tried(name, handler));
      } catch (error) {
        throw wrap(`use runtime.handlers.${name}`, error);
      }
    }
    return () => {
      for (const [name, before] of Object.entries(this.#deps.handlers))
        this.#removed.set(name, before);
      this.#deps = { ...this.#deps, defaultHandler, handlers };
      for (const [name, { program, features }] of found) {
        const answered = Promise.withResolvers<undefined>();
        answered.resolve(undefined);
        this.#asked.set(name, answered);
        if (features !== undefined) this.#runtimes.set(program, features);
      }
      this.#features = this.#withDefault((each) => this.#offered(each));
    };
  }

  /** A handler's runtime and its features; without them where davit does not know its runtime. */
  async #tried(name: string, handler: HandlerDefinition): Promise<Tried> {
    const { shims, readFeatures } = this.#deps;
    if (shims !== undefined && handler.runtimeType !== "") shimOf(shims, handler);
    const program = ociRuntimeOf(shims, handler);
    const features = program === "" ? undefined : await readFeatures(program);
    const ignored = ignoredSetting(name, handler, features);
    if (ignored !== undefined) throw new RuntimeError("failed-precondition", ignored);
    return { program, features };
  }

  /** How long the creation of a pod or container of a handler may take; undefined for the time of all handlers. */
  readonly createMsOf = (handler: BoundHandler): number | undefined => {
    const { createTimeoutSeconds } = this.settings(handler);
    return createTimeoutSeconds === 0 ? undefined : createTimeoutSeconds * 1000;
  };

  /** Asks the runtimes. A runtime that does not answer has no features; pods that need none still run. */
  async probe(log: Logger): Promise<void> {
    await Promise.all(
      [...this.#asked].map(async ([name, { resolve }]) => {
        try {
          await this.#ask(name, log);
        } finally {
          // A request that waits for the answer then fails with the reason.
          resolve(undefined);
        }
      }),
    );
  }

  #definition(name: string): HandlerDefinition | undefined {
    const { handlers } = this.#deps;
    return Object.hasOwn(handlers, name) ? handlers[name] : undefined;
  }

  async #ask(name: string, log: Logger): Promise<void> {
    const handler = this.#definition(name);
    if (handler === undefined) return;
    const program = ociRuntimeOf(this.#deps.shims, handler);
    if (program === "") return;
    try {
      this.#runtimes.set(program, await this.#deps.readFeatures(program));
    } catch (error) {
      log.warn(
        `containers of handler "${name}" will fail to start: install its OCI runtime, or set runtime.handlers.${name}`,
        { handler: name, error: messageOf(error) },
      );
    }
    this.#features = this.#withDefault((each) => this.#offered(each));
    const ignored = ignoredSetting(name, handler, this.#runtimes.get(program));
    if (ignored !== undefined) log.error(ignored, { handler: name });
  }

  #offered(name: string): Features {
    const handler = this.#definition(name);
    if (handler === undefined) return noFeatures;
    const features = this.#runtimes.get(ociRuntimeOf(this.#deps.shims, handler));
    if (features === undefined) return noFeatures;
    const nodeHas = userNamespaceObstacle() === undefined;
    return {
      recursiveReadOnlyMounts: features.mountOptions.includes("rro"),
      userNamespaces: nodeHas && features.idMappedMounts,
      checkpoints: this.#restores(handler) && features.checkpoints === true,
    };
  }

  /** Whether pods of a handler can be restored, as far as that depends on a shim. */
  #restores({ path, controller, options }: HandlerDefinition): boolean {
    if (path !== "") return true;
    return controller !== "shim" && this.#deps.shims?.obstacleToRestores(options) === undefined;
  }

  #withDefault(of: (name: string) => Features): readonly HandlerFeatures[] {
    const names = Object.keys(this.#deps.handlers).sort();
    return [
      { name: "", ...of(this.#deps.defaultHandler) },
      ...names.map((name) => ({ name, ...of(name) })),
    ];
  }
}

/** What asking the OCI runtime of a handler gave. */
interface Tried {
  readonly program: string;
  readonly features: RuntimeFeatures | undefined;
}

/** Why a runtime cannot make user namespaces. */
function runtimeObstacle(features: RuntimeFeatures | undefined): string | undefined {
  if (features === undefined) return "its OCI runtime did not report its features";
  return features.idMappedMounts ? undefined : "its OCI runtime has no id-mapped mounts";
}

/** Why containers of a handler are rejected, whose runtime ignores a setting of it. */
function ignoredSetting(
  name: string,
  { execCpuAffinity }: HandlerDefinition,
  features: RuntimeFeatures | undefined,
): string | undefined {
  if (execCpuAffinity === "") return undefined;
  if (features?.optionalFields?.includes("process.execCPUAffinity") === true) return undefined;
  return `containers of handler "${name}" are rejected: its OCI runtime ignores exec_cpu_affinity; install crun 1.19 or runc 1.3, or remove it`;
}

/** The part of a shim's handler that a sandbox keeps, so that a later configuration does not change it. */
function shimOf(shims: ShimKnowledge, handler: HandlerDefinition): Partial<BoundHandler> {
  const { runtimeType, runtimePath, ioType, options } = handler;
  // A shim that cannot be started, or options that it would reject, fail before anything is made.
  shims.shimProgram(runtimeType, runtimePath);
  shims.encodeOptions(runtimeType, options, "");
  return {
    runtimeType,
    ...(runtimePath === "" ? {} : { runtimePath }),
    ...(ioType === "streaming" ? { ioType } : {}),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

/** The OCI runtime that runs the containers of a handler or of a sandbox, as far as davit can tell. */
function ociRuntimeOf(
  shims: ShimKnowledge | undefined,
  {
    path = "",
    runtimeType = "",
    options = {},
  }: Pick<BoundHandler, "path" | "runtimeType" | "options">,
): string {
  if (shims === undefined || runtimeType === "") return path;
  return shims.isRuncType(runtimeType) ? shims.runtimeOfOptions(options) : "";
}

type Features = Omit<HandlerFeatures, "name">;

// Every runtime that davit supports has seccomp and knows the mount options of mount(8).
const leastFeatures: RuntimeFeatures = {
  idMappedMounts: false,
  mountOptions: [],
  seccomp: true,
};

const noFeatures: Features = {
  recursiveReadOnlyMounts: false,
  userNamespaces: false,
  checkpoints: false,
};

const defaultSettings: HandlerSettings = {
  podAnnotations: [],
  containerAnnotations: [],
  privilegedWithoutHostDevices: false,
  privilegedWithoutHostDevicesAllDevicesAllowed: false,
  cgroupWritable: false,
  baseRuntimeSpec: "",
  hooksDir: "",
  writableLayerLimit: -1,
  defaultAnnotations: {},
  seccompProfile: "",
  createTimeoutSeconds: 0,
  execCpuAffinity: "",
};
