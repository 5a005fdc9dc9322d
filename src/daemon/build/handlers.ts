import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Config, HandlerConfig } from "../../config/config.ts";
import type { BoundHandler, Handlers } from "../../core/sandbox/index.ts";
import type { HandlerFeatures } from "../../cri/index.ts";
import { type RuntimeFeatures, readRuntimeFeatures } from "../../drivers/oci/index.ts";
import type { HandlerSettings } from "../../drivers/host-spec/index.ts";
import { userNamespaceObstacle } from "../../linux/namespace/index.ts";
import type * as ShimParts from "./shims.ts";

/** What is known of shims where a handler has one. */
type ShimFacts = Pick<
  typeof ShimParts,
  "encodeOptions" | "isRuncType" | "runtimeOfOptions" | "shimProgram"
>;

/** The handlers of the configuration, and what their runtimes can do. */
export class ConfiguredHandlers implements Handlers {
  readonly #config: Config["runtime"];
  readonly #shims: ShimFacts | undefined;
  #features: readonly HandlerFeatures[];
  readonly #runtimes = new Map<string, RuntimeFeatures>();
  /** By handler, resolved when its runtime has answered, or will not. */
  readonly #asked: ReadonlyMap<string, PromiseWithResolvers<undefined>>;

  /** `shims` is there where a handler has a runtime type. */
  constructor(config: Config["runtime"], shims: ShimFacts | undefined) {
    this.#config = config;
    const names = Object.keys(config.handlers);
    this.#asked = new Map(names.map((name) => [name, Promise.withResolvers<undefined>()]));
    this.#shims = shims;
    this.#features = this.#withDefault(() => nothing);
  }

  bind(requested: string): BoundHandler {
    const name = requested === "" ? this.#config.defaultHandler : requested;
    const handler = Object.hasOwn(this.#config.handlers, name)
      ? this.#config.handlers[name]
      : undefined;
    if (handler === undefined) {
      const known = Object.keys(this.#config.handlers).sort().join(", ");
      throw new RuntimeError(
        "invalid-argument",
        `find runtime handler "${name}": there is none of this name in the configuration, there are: ${known}; name one of them in the RuntimeClass, or add [runtime.handlers.${name}]`,
      );
    }
    return {
      requested,
      name,
      controller: handler.controller,
      ...(handler.path === "" ? {} : { path: handler.path }),
      ...(this.#shims === undefined || handler.runtimeType === ""
        ? {}
        : shimOf(this.#shims, handler)),
    };
  }

  /**
   * What each handler can do, by name, with "" for the default one first. Early in the daemon's life
   * it waits for the runtimes' answers, 5 s at most.
   */
  async features(): Promise<readonly HandlerFeatures[]> {
    await Promise.all([...this.#asked.values()].map(({ promise }) => promise));
    return this.#features;
  }

  /**
   * What the OCI runtime of a sandbox's handler said; nothing special when it has not answered. Early
   * in the daemon's life it waits for that, 5 s at most.
   */
  async runtimeFeatures({ name }: BoundHandler): Promise<RuntimeFeatures> {
    await this.#asked.get(name)?.promise;
    return this.#runtimes.get(name) ?? silentRuntime;
  }

  async checkUserNamespaces({ name }: BoundHandler): Promise<void> {
    await this.#asked.get(name)?.promise;
    const why = userNamespaceObstacle() ?? this.#runtimeObstacle(name);
    if (why === undefined) return;
    throw new RuntimeError(
      "failed-precondition",
      `make a user namespace: handler "${name}" has none, ${why}; set hostUsers to true, or use another handler`,
    );
  }

  #runtimeObstacle(name: string): string | undefined {
    const features = this.#runtimes.get(name);
    if (features === undefined) return "its OCI runtime did not say what it can do";
    return features.idMappedMounts ? undefined : "its OCI runtime has no id-mapped mounts";
  }

  /** What the configuration says of a sandbox's handler now; nothing special once it is gone from it. */
  settings(handler: BoundHandler): HandlerSettings {
    const { handlers } = this.#config;
    const known = Object.hasOwn(handlers, handler.name) ? handlers[handler.name] : undefined;
    return known ?? plainHandler;
  }

  /** Asks the runtimes. A runtime that does not answer has no features; pods without them still run. */
  async probe(log: Logger): Promise<void> {
    await Promise.all(
      [...this.#asked].map(async ([name, { resolve }]) => {
        try {
          await this.#ask(name, log);
        } finally {
          // Whoever waits is then told what is missing.
          resolve(undefined);
        }
      }),
    );
  }

  async #ask(name: string, log: Logger): Promise<void> {
    const handler = this.#config.handlers[name];
    const program = handler === undefined ? "" : ociRuntimeOf(this.#shims, handler);
    if (program === "") return;
    try {
      this.#runtimes.set(name, await readRuntimeFeatures(program));
    } catch (error) {
      log.warn(
        `handler "${name}" may start no containers: install its OCI runtime, or set runtime.handlers.${name}`,
        { handler: name, error: messageOf(error) },
      );
    }
    this.#features = this.#withDefault((each) => this.#offered(each));
  }

  #offered(name: string): Features {
    const features = this.#runtimes.get(name);
    if (features === undefined) return nothing;
    const { recursiveReadOnlyMounts, idMappedMounts } = features;
    const nodeHas = userNamespaceObstacle() === undefined;
    return { recursiveReadOnlyMounts, userNamespaces: nodeHas && idMappedMounts };
  }

  #withDefault(of: (name: string) => Features): readonly HandlerFeatures[] {
    const names = Object.keys(this.#config.handlers).sort();
    return [
      { name: "", ...of(this.#config.defaultHandler) },
      ...names.map((name) => ({ name, ...of(name) })),
    ];
  }
}

/** What a sandbox keeps of a shim's handler, so that a change of the configuration does not harm it. */
function shimOf(shims: ShimFacts, handler: HandlerConfig): Partial<BoundHandler> {
  const { runtimeType, runtimePath, options } = handler;
  // What cannot be started, or would not understand, is said before anything is made.
  shims.shimProgram(runtimeType, runtimePath);
  shims.encodeOptions(runtimeType, options, "");
  return {
    runtimeType,
    ...(runtimePath === "" ? {} : { runtimePath }),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

/** The OCI runtime that runs a handler's containers, as far as davit can tell. */
function ociRuntimeOf(
  shims: ShimFacts | undefined,
  { path, runtimeType, options }: HandlerConfig,
): string {
  if (shims === undefined || runtimeType === "") return path;
  return shims.isRuncType(runtimeType) ? shims.runtimeOfOptions(options) : "";
}

type Features = Omit<HandlerFeatures, "name">;

// Every runtime that davit supports has seccomp and knows the mount options of mount(8).
const silentRuntime: RuntimeFeatures = {
  recursiveReadOnlyMounts: false,
  idMappedMounts: false,
  mountOptions: [],
  seccomp: true,
};

const nothing: Features = { recursiveReadOnlyMounts: false, userNamespaces: false };

const plainHandler: HandlerSettings = {
  podAnnotations: [],
  containerAnnotations: [],
  privilegedWithoutHostDevices: false,
  privilegedWithoutHostDevicesAllDevicesAllowed: false,
  cgroupWritable: false,
  baseRuntimeSpec: "",
  hooksDir: "",
};
