import { messageOf, RuntimeError } from "../base/errors.ts";
import type { Logger } from "../base/logger.ts";
import type { Config, HandlerConfig } from "../config/config.ts";
import type { BoundHandler, Handlers } from "../core/sandbox/index.ts";
import type { HandlerFeatures } from "../cri/index.ts";
import { type RuntimeFeatures, readRuntimeFeatures } from "../drivers/oci/index.ts";
import { encodeOptions, isRuncType, runtimeOfOptions, shimProgram } from "../drivers/shim/index.ts";
import type { HandlerSettings } from "../drivers/specs/index.ts";
import { userNamespaceObstacle } from "../linux/index.ts";

/** The handlers of the configuration, and what their runtimes can do. */
export class ConfiguredHandlers implements Handlers {
  readonly #config: Config["runtime"];
  #features: readonly HandlerFeatures[];
  readonly #runtimes = new Map<string, RuntimeFeatures>();
  readonly #probed = Promise.withResolvers<undefined>();

  constructor(config: Config["runtime"]) {
    this.#config = config;
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
      ...(handler.runtimeType === "" ? {} : shimOf(handler)),
    };
  }

  /** What each handler can do, by name, with "" for the default one first. */
  features(): readonly HandlerFeatures[] {
    return this.#features;
  }

  /** What the OCI runtime of a sandbox's handler said; nothing special until it has been asked. */
  runtimeFeatures(handler: BoundHandler): RuntimeFeatures {
    return this.#runtimes.get(handler.name) ?? silentRuntime;
  }

  async checkUserNamespaces({ name }: BoundHandler): Promise<void> {
    await this.#probed.promise;
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
    try {
      await this.#ask(log);
    } finally {
      // Whoever waits is then told what is missing.
      this.#probed.resolve(undefined);
    }
  }

  async #ask(log: Logger): Promise<void> {
    const asked = new Map<string, Features>();
    const nodeHas = userNamespaceObstacle() === undefined;
    const handlers = Object.entries(this.#config.handlers).filter(
      ([, handler]) => ociRuntimeOf(handler) !== "",
    );
    await Promise.all(
      handlers.map(async ([name, handler]) => {
        try {
          const features = await readRuntimeFeatures(ociRuntimeOf(handler));
          this.#runtimes.set(name, features);
          const { recursiveReadOnlyMounts, idMappedMounts } = features;
          asked.set(name, { recursiveReadOnlyMounts, userNamespaces: nodeHas && idMappedMounts });
        } catch (error) {
          log.warn(
            `handler "${name}" may start no containers: install its OCI runtime, or set runtime.handlers.${name}`,
            { handler: name, error: messageOf(error) },
          );
        }
      }),
    );
    this.#features = this.#withDefault((name) => asked.get(name) ?? nothing);
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
function shimOf(handler: HandlerConfig): Partial<BoundHandler> {
  const { runtimeType, runtimePath, options } = handler;
  // What cannot be started, or would not understand, is said before anything is made.
  shimProgram(runtimeType, runtimePath);
  encodeOptions(runtimeType, options, "");
  return {
    runtimeType,
    ...(runtimePath === "" ? {} : { runtimePath }),
    ...(Object.keys(options).length === 0 ? {} : { options }),
  };
}

/** The OCI runtime that runs a handler's containers, as far as davit can tell. */
function ociRuntimeOf({ path, runtimeType, options }: HandlerConfig): string {
  if (runtimeType === "") return path;
  return isRuncType(runtimeType) ? runtimeOfOptions(options) : "";
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
