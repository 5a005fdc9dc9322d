import type { Logger } from "../../base/logger.ts";
import type { Config } from "../../config/config.ts";
import type { Sandbox, SandboxEnvironment } from "../../core/sandbox/index.ts";
import type * as NriDriver from "../../drivers/nri/index.ts";
import type { NriPlugins } from "../../drivers/nri/index.ts";
import { type ContainerContext, pluginHost } from "../../engine/container/index.ts";
import type { NodeEvent } from "../../engine/events/index.ts";
import { EnginePlugins } from "../../engine/plugins/index.ts";
import type { LiveConfig } from "../process/live-config.ts";
import type { Metrics } from "./metrics.ts";

/** The plugins of the node, before they are started. */
export interface BuiltPlugins extends AsyncDisposable {
  /** Undefined where NRI is off. */
  readonly plugins: EnginePlugins | undefined;
  /** Starts plugins, and lets others connect. Call it when pods and containers are restored. */
  readonly begin: () => Promise<void>;
  /** What the verbose Status shows of them. */
  readonly facts: () => Readonly<Record<string, unknown>>;
}

/** Builds the plugins of the node. Without NRI, its code is not loaded. */
export function pluginsOf(
  live: Pick<LiveConfig, "value">,
  parts: {
    readonly version: string;
    readonly log: Logger;
    readonly metrics: () => Pick<Metrics, "nriCall"> | undefined;
    readonly onEvent: (event: NodeEvent) => void;
    /** Called after the build. */
    readonly containers: () => ContainerContext;
  },
): BuiltPlugins {
  const { nri } = live.value;
  if (!nri.enable) return off;
  const plugins = new EnginePlugins();
  let port: NriPlugins | undefined;
  return {
    plugins,
    begin: async () => {
      const driver = await import("../../drivers/nri/index.ts");
      port = portOf(driver, live, parts);
      plugins.open(port, driver.messages);
      await port.start(pluginHost(parts.containers));
    },
    facts: () => (port === undefined ? {} : { nri: factsOf(port, nri) }),
    [Symbol.asyncDispose]: async () => port?.stop(),
  };
}

function portOf(
  driver: typeof NriDriver,
  live: Pick<LiveConfig, "value">,
  { version, log, metrics, onEvent, containers }: Parameters<typeof pluginsOf>[1],
): NriPlugins {
  const { nri } = live.value;
  let validator: ReturnType<typeof validatorOf> | undefined;
  return new driver.NriPlugins({
    socketPath: nri.disableConnections ? undefined : nri.socketPath,
    pluginDirectory: nri.pluginPath,
    configDirectory: nri.pluginConfigPath,
    // These and the validator follow the reloads of the configuration.
    timeouts: {
      get registrationMs() {
        return live.value.nri.pluginRegistrationTimeout * 1000;
      },
      get requestMs() {
        return live.value.nri.pluginRequestTimeout * 1000;
      },
    },
    version,
    describe: {
      pod: (sandbox) => driver.describePod(sandbox, environmentOf(containers(), sandbox)),
      container: driver.describeContainer,
    },
    get validate() {
      const { defaultValidator: settings } = live.value.nri;
      if (validator?.settings !== settings) validator = validatorOf(driver, settings);
      return validator.validate;
    },
    log,
    observe: (call) => metrics()?.nriCall(call),
    onConnected: (plugin) => {
      onEvent({ kind: "plugin-connected", ...plugin });
    },
    onLost: (plugin, reason) => {
      onEvent({ kind: "plugin-lost", ...plugin, reason });
    },
  });
}

function validatorOf(driver: typeof NriDriver, settings: Config["nri"]["defaultValidator"]) {
  const { enable, ...rules } = settings;
  return { settings, validate: enable ? driver.defaultValidator(rules) : undefined };
}

/** Empty for a sandbox whose controller this daemon does not have. */
function environmentOf(context: ContainerContext, sandbox: Sandbox): SandboxEnvironment {
  try {
    return context.environmentOf(sandbox);
  } catch {
    return { pins: {}, files: {} };
  }
}

const off: BuiltPlugins = {
  plugins: undefined,
  begin: () => Promise.resolve(),
  facts: () => ({}),
  [Symbol.asyncDispose]: () => Promise.resolve(),
};

function factsOf({ status }: NriPlugins, nri: Config["nri"]): Readonly<Record<string, unknown>> {
  const { plugins, failures, notListening } = status;
  return {
    socket: nri.disableConnections ? "" : nri.socketPath,
    plugins,
    failures,
    ...(notListening === undefined ? {} : { notListening }),
  };
}
