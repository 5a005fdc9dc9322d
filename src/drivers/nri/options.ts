import type { Logger } from "../../base/logger.ts";
import type { ContainerOfPlugins } from "../../core/plugin/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type {
  Container as PluginContainer,
  PodSandbox as PluginPod,
  ValidateContainerAdjustmentRequest,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import type { PluginTimeouts } from "./connection.ts";
import type { GateTimes } from "./sync-gate.ts";

/** A question that a plugin was asked. */
export interface PluginCall {
  /** Index and name. */
  readonly plugin: string;
  /** For example "CreateContainer". */
  readonly event: string;
  readonly tookMs: number;
  /** "refused": the plugin answered with an error. "dropped": it did not answer as it should. */
  readonly outcome: "ok" | "refused" | "dropped";
}

/** The messages of pods and containers. */
export interface Describer {
  pod(sandbox: Sandbox): PluginPod;
  container(of: ContainerOfPlugins): Promise<PluginContainer>;
}

/** What a plugin is called. */
export interface PluginIdentity {
  /** Without the index. */
  readonly name: string;
  /** Two digits. */
  readonly index: string;
}

/** Options of NriPlugins. */
export interface NriOptions {
  /** Where plugins connect; undefined: only plugins that davit starts. */
  readonly socketPath: string | undefined;
  /** The directory of the plugins that davit starts. */
  readonly pluginDirectory: string;
  /** The directory of their configurations. */
  readonly configDirectory: string;
  readonly timeouts: PluginTimeouts;
  /** The version of davit. */
  readonly version: string;
  readonly describe: Describer;
  /** The built-in validator: the reason for which it rejects a container's adjustments. */
  readonly validate?:
    | ((request: ValidateContainerAdjustmentRequest) => string | undefined)
    | undefined;
  readonly log: Logger;
  /** Told about each question to a plugin. */
  readonly observe?: ((call: PluginCall) => void) | undefined;
  /** Told when a plugin is asked from now on. */
  readonly onConnected?: ((plugin: PluginIdentity) => void) | undefined;
  /** Told when such a plugin is lost, with the reason. */
  readonly onLost?: ((plugin: PluginIdentity, reason: string) => void) | undefined;
  /** For tests. */
  readonly gateTimes?: GateTimes;
}
