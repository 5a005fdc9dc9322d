import type { LogLevel } from "../base/logger.ts";

/**
 * The configuration of one davit daemon: every value present, checked and frozen.
 *
 * The fields mirror the keys of the TOML file (`maxMessageBytes` is `max_message_bytes`). What each
 * one means, its default and its limits stand in `schema.ts`, and nowhere else.
 */
export interface Config {
  readonly root: string;
  readonly state: string;
  readonly server: ServerConfig;
  readonly log: LogConfig;
  readonly images: ImagesConfig;
  readonly cni: CniConfig;
  readonly cdi: CdiConfig;
  readonly runtime: RuntimeConfig;
  readonly streaming: StreamingConfig;
  readonly tuning: TuningConfig;
}

/** `[server]`: the socket that clients talk to. */
export interface ServerConfig {
  readonly listen: string;
  /** The group that may use the socket, by name or gid; empty for davit's own. */
  readonly group: string;
  readonly maxMessageBytes: number;
}

/** `[log]`: what the daemon says. */
export interface LogConfig {
  readonly level: LogLevel;
}

/** `[images]`: where images come from. */
export interface ImagesConfig {
  readonly registryConfigPath: string;
  /** Names of images that kubelet must not collect. */
  readonly pinned: readonly string[];
  readonly volumes: "copy" | "ignore";
  readonly maxLayers: number;
  /** 0 is no limit, here and below. */
  readonly maxUnpackedBytes: number;
  readonly maxUnpackedRatio: number;
  readonly maxLayerEntries: number;
  readonly trustPresentLayers: boolean;
}

/** `[cni]`: the network of pods. */
export interface CniConfig {
  readonly confDir: string;
  readonly binDirs: readonly string[];
  readonly maxParallel: number;
  readonly pluginTimeoutSeconds: number;
}

/** `[tuning]`: measures that change speed and memory, never results. */
export interface TuningConfig {
  /** False turns all of them off. */
  readonly enable: boolean;
}

/** `[cdi]`: devices by the Container Device Interface. */
export interface CdiConfig {
  readonly enable: boolean;
  readonly specDirs: readonly string[];
}

/** `[runtime]`: how pods and containers are run. */
export interface RuntimeConfig {
  readonly defaultHandler: string;
  readonly cgroupDriver: "cgroupfs" | "systemd";
  readonly monitorPath: string;
  readonly logRoots: readonly string[];
  readonly createTimeoutSeconds: number;
  readonly retryHoldSeconds: number;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly seccompAllowSocketcall: boolean;
  readonly selinux: boolean;
  readonly ptraceInSharedPid: "allow" | "refuse";
  /** By name; only those that are enabled. `defaultHandler` is always among them. */
  readonly handlers: Readonly<Record<string, HandlerConfig>>;
}

/** `[streaming]`: where exec, attach and port-forward connect to. */
export interface StreamingConfig {
  readonly address: string;
  /** 0 for a free one. */
  readonly port: number;
  readonly tls: boolean;
  /** Both or none; without them a certificate is made. */
  readonly tlsCertFile: string;
  readonly tlsKeyFile: string;
  readonly idleTimeoutSeconds: number;
  readonly creationTimeoutSeconds: number;
}

/** `[runtime.handlers.NAME]`: what a RuntimeClass with this handler name gets. */
export interface HandlerConfig {
  readonly controller: "podsandbox" | "shim";
  /** The OCI runtime under conmon. Empty exactly when `runtimeType` is set. */
  readonly path: string;
  /** The containerd shim. Empty exactly when `path` is set. */
  readonly runtimeType: string;
  readonly runtimePath: string;
  readonly options: Options;
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  readonly baseRuntimeSpec: string;
  readonly hooksDir: string;
  readonly cniConfDir: string;
}

/** A value inside `options`, which davit passes on without knowing its meaning. */
export type OptionValue = string | number | boolean | readonly OptionValue[] | Options;

/** The free-form table of options of a shim. */
export interface Options {
  readonly [name: string]: OptionValue;
}
