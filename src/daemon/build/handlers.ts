import { isDeepStrictEqual } from "node:util";
import type { Config, HandlerConfig } from "../../config/config.ts";
import { ConfiguredHandlers } from "../../drivers/handlers/index.ts";
import { readRuntimeFeatures } from "../../drivers/oci/index.ts";
import type { Holdback, LiveConfig } from "../process/live-config.ts";
import type * as ShimParts from "./shims.ts";

/** The handlers of the configuration, with the OCI driver's way to ask for features. They follow its reloads. */
export function handlersOf(
  live: LiveConfig,
  shims: typeof ShimParts | undefined,
): ConfiguredHandlers {
  const { defaultHandler, handlers } = live.value.runtime;
  const configured = new ConfiguredHandlers({
    defaultHandler,
    handlers,
    shims,
    readFeatures: readRuntimeFeatures,
  });
  live.add({ prepare: ({ next }) => configured.prepare(next.runtime) });
  return configured;
}

/** What handlers may need that a daemon loads or decides only at its start. */
interface StartedWith {
  readonly shims: boolean;
  readonly layerLimits: boolean;
  readonly ownIds: boolean;
}

/** Keeps handlers as they are that need what this daemon was started without. */
export function handlerHoldback(has: StartedWith): Holdback {
  return (current, next) => {
    const [before, after] = [current.runtime.handlers, next.runtime.handlers];
    // Without a prototype, so that "constructor" is not a handler.
    const handlers = Object.assign(Object.create(null) as Record<string, HandlerConfig>, after);
    const reasons = new Map<string, string>();
    const keep = (name: string, key: string, reason: string): void => {
      reasons.set(key, reason);
      const old = before[name];
      if (old !== undefined) handlers[name] = old;
      else Reflect.deleteProperty(handlers, name);
    };
    for (const [name, handler] of Object.entries(after)) {
      const reason = obstacle(handler, has);
      if (reason === undefined || isDeepStrictEqual(before[name], handler)) continue;
      keep(name, `runtime.handlers.${name}`, reason);
    }
    let { defaultHandler } = next.runtime;
    if (handlers[defaultHandler] === undefined) {
      const reason = `handler "${defaultHandler}" waits for the restart`;
      ({ defaultHandler } = current.runtime);
      keep(defaultHandler, "runtime.default_handler", reason);
    }
    const config: Config = { ...next, runtime: { ...next.runtime, defaultHandler, handlers } };
    return { config, reasons };
  };
}

function obstacle(handler: HandlerConfig, has: StartedWith): string | undefined {
  if (handler.runtimeType !== "" && !has.shims) return "davit was started without shims";
  if (handler.writableLayerLimit > 0 && !has.layerLimits) {
    return "davit was started without limits of writable layers";
  }
  if (handler.userNamespaces === "auto" && !has.ownIds) {
    return "davit was started without user namespaces for pods that do not ask";
  }
  return undefined;
}
