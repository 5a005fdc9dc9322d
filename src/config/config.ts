import type { LogLevel } from "../base/logger.ts";

/**
 * The configuration of a davit daemon. All values are present, validated and frozen.
 *
 * The fields correspond to the keys of the TOML file (`maxMessageBytes` is `max_message_bytes`). The meaning,
 * the default and the limits of each one are in `schema.ts`.
 */
export interface Config {
  readonly root: string;
  readonly state: string;
  /** Empty for none. */
  readonly writableRoot: string;
  readonly server: ServerConfig;
  readonly log: LogConfig;
  readonly images: ImagesConfig;
  readonly cni: CniConfig;
  readonly cdi: CdiConfig;
  readonly runtime: RuntimeConfig;
  readonly streaming: StreamingConfig;
  readonly cadvisor: CadvisorConfig;
  readonly nri: NriConfig;
  readonly checkpoint: CheckpointConfig;
  readonly tracing: TracingConfig;
  readonly metrics: MetricsConfig;
  readonly tuning: TuningConfig;
}

/** `[server]`: the CRI socket. */
export interface ServerConfig {
  readonly listen: string;
  /** The group that may use the socket, by name or gid; empty for root only. */
  readonly group: string;
  readonly maxMessageBytes: number;
}

/** `[log]`: the log of the daemon. */
export interface LogConfig {
  readonly level: LogLevel;
}

/** `[images]`: registries, and limits for images. */
export interface ImagesConfig {
  readonly registryConfigPath: string;
  /** Empty for none, here and below. */
  readonly registriesConf: string;
  readonly dockerConfig: string;
  /** Both or neither. */
  readonly credentialProvidersConfig: string;
  readonly credentialProvidersBinDir: string;
  /** Directory with private keys for encrypted layers. */
  readonly decryptionKeysPath: string;
  /** Names of images that kubelet must not garbage-collect. */
  readonly pinned: readonly string[];
  /** Directory with archives of images that are loaded at the start; empty for none. */
  readonly preloadDir: string;
  readonly volumes: "copy" | "ignore";
  /** Of one image. */
  readonly maxConcurrentDownloads: number;
  /** Requests for parts of one layer; 1 for none at once. */
  readonly concurrentRanges: number;
  /** Of all images. */
  readonly maxConcurrentUnpacks: number;
  /** How new layers are stored. */
  readonly layerFormat: "directory" | "erofs";
  /** Whether layers that are images have fs-verity. */
  readonly layerVerity: "auto" | "require" | "off";
  readonly maxLayers: number;
  /** 0 means no limit, here and below. */
  readonly maxUnpackedBytes: number;
  readonly maxUnpackedRatio: number;
  readonly maxLayerEntries: number;
  readonly trustPresentLayers: boolean;
  readonly gcUnusedLayersSeconds: number;
  /** 0 for never, here and below. */
  readonly gcUnusedImagesSeconds: number;
  readonly gcHighPercent: number;
  readonly gcLowPercent: number;
  readonly verification: VerificationConfig;
}

/** `[images.verification]`: which images may be used. */
export interface VerificationConfig {
  /** Directory with verifier programs; empty for none. */
  readonly bindir: string;
  readonly bindirTimeoutSeconds: number;
  readonly maxVerifiers: number;
  /** A containers-policy.json(5), used where it exists; empty for none. */
  readonly policyJson: string;
  /** Directory with a NAMESPACE.json for pods of that namespace; empty for none. */
  readonly policyJsonDirectory: string;
  /** How images are treated that were loaded from archives, and not pulled by the name in question. */
  readonly loaded: "verify" | "accept";
  /** What happens to an image that no policy of `policies` is for, if there are any. */
  readonly otherImages: "accept" | "reject";
  /** The first one that is for an image decides. */
  readonly policies: readonly VerificationPolicy[];
}

/** `[[images.verification.policies]]`: what images of some names need. */
export interface VerificationPolicy {
  /** Patterns of registry/repository. */
  readonly images: readonly string[];
  /** Patterns of Kubernetes namespaces; empty for all. */
  readonly namespaces: readonly string[];
  readonly action: "verify" | "accept" | "reject";
  /** PEM files, here and below. */
  readonly keys: readonly string[];
  readonly identities: readonly SignerIdentity[];
  /** A trusted_root.json of sigstore; empty for none. */
  readonly trustedRoot: string;
  readonly fulcioRoots: readonly string[];
  readonly rekorKeys: readonly string[];
  readonly ctKeys: readonly string[];
  /** Whether a signature must be in a transparency log; "auto": if a key of a log is known. */
  readonly transparencyLog: "auto" | "require" | "ignore";
  /** Whether a signature that names a repository must name that of the image. */
  readonly signedRepository: "match" | "ignore";
  /** Predicate types of statements that count as signatures. */
  readonly predicateTypes: readonly string[];
}

/** A keyless signer: exactly one of `subject` and `subjectRegexp` is not empty. */
export interface SignerIdentity {
  readonly issuer: string;
  readonly subject: string;
  /** Must match the whole subject. */
  readonly subjectRegexp: string;
}

/** `[cni]`: the network of pods. */
export interface CniConfig {
  readonly confDir: string;
  readonly binDirs: readonly string[];
  readonly builtin: boolean;
  readonly maxParallel: number;
  readonly pluginTimeoutSeconds: number;
}

/** `[cadvisor]`: the socket where kubelet's cAdvisor asks containerd for the names of pods. */
export interface CadvisorConfig {
  readonly serve: "auto" | "always" | "never";
  readonly listen: string;
}

/** `[checkpoint]`: checkpoints of containers and pods. */
export interface CheckpointConfig {
  /** Which checkpoints can be restored: none, those that this node made, any. */
  readonly restore: "off" | "own" | "any";
  /** Whether the image of a new container can be a checkpoint. */
  readonly restoreContainers: boolean;
  /** Of one checkpoint that is read from an archive or a directory. */
  readonly maxBytes: number;
}

/** `[nri]`: plugins of the node. */
export interface NriConfig {
  readonly enable: boolean;
  readonly socketPath: string;
  readonly pluginPath: string;
  readonly pluginConfigPath: string;
  /** Seconds, here and below. */
  readonly pluginRegistrationTimeout: number;
  readonly pluginRequestTimeout: number;
  readonly disableConnections: boolean;
  readonly defaultValidator: NriValidatorConfig;
}

/** `[nri.default_validator]`: what plugins may not adjust, and which ones must be connected. */
export interface NriValidatorConfig {
  readonly enable: boolean;
  readonly rejectOciHookAdjustment: boolean;
  readonly rejectRuntimeDefaultSeccompAdjustment: boolean;
  readonly rejectUnconfinedSeccompAdjustment: boolean;
  readonly rejectCustomSeccompAdjustment: boolean;
  readonly rejectNamespaceAdjustment: boolean;
  readonly rejectSysctlAdjustment: boolean;
  readonly requiredPlugins: readonly string[];
  /** The key of an annotation; empty for none. */
  readonly tolerateMissingPluginsAnnotation: string;
}

/** `[metrics]`: the endpoint for Prometheus. */
export interface MetricsConfig {
  /** HOST:PORT, or the path of a unix socket: see parseListenAddress(). Empty for none. */
  readonly listen: string;
}

/** `[tuning]`: measures that change speed and memory, never results. */
export interface TuningConfig {
  /** False turns all of them off. */
  readonly enable: boolean;
}

/** `[cdi]`: devices of the Container Device Interface. */
export interface CdiConfig {
  readonly enable: boolean;
  readonly specDirs: readonly string[];
}

/** `[runtime]`: how pods and containers are run. */
export interface RuntimeConfig {
  readonly defaultHandler: string;
  readonly cgroupDriver: "cgroupfs" | "systemd";
  readonly monitor: "davit" | "conmon";
  readonly monitorPath: string;
  readonly logSizeMax: number;
  readonly exec: "davit" | "runtime";
  readonly logRoots: readonly string[];
  readonly createTimeoutSeconds: number;
  readonly retryHoldSeconds: number;
  readonly deviceOwnershipFromSecurityContext: boolean;
  readonly seccompAllowSocketcall: boolean;
  readonly selinux: boolean;
  /** Bytes; 0 for no limit. */
  readonly writableLayerLimit: number;
  readonly writableLayerLimitMax: number;
  readonly writableLayerFirstProject: number;
  readonly ptraceInSharedPid: "allow" | "refuse";
  readonly userNamespaces: "requested" | "auto";
  /** 0 for the entry of davit or containers in subuid(5), or a default. */
  readonly userNamespaceFirstId: number;
  readonly userNamespaceIds: number;
  /** Empty for no classes, here and below. */
  readonly blockioConfigFile: string;
  readonly rdtConfigFile: string;
  readonly ignoreBlockioNotEnabledErrors: boolean;
  readonly ignoreRdtNotEnabledErrors: boolean;
  /** The enabled handlers by name. `defaultHandler` is always among them. */
  readonly handlers: Readonly<Record<string, HandlerConfig>>;
}

/** `[streaming]`: the server for exec, attach and port-forward. */
export interface StreamingConfig {
  readonly address: string;
  /** 0 for any free port. */
  readonly port: number;
  readonly tls: boolean;
  /** Both or neither; without them davit generates a certificate. */
  readonly tlsCertFile: string;
  readonly tlsKeyFile: string;
  readonly idleTimeoutSeconds: number;
  readonly creationTimeoutSeconds: number;
}

/** `[tracing]`: spans for an OpenTelemetry collector. */
export interface TracingConfig {
  /** Empty for no tracing. May contain credentials. */
  readonly endpoint: string;
  readonly protocol: "http/protobuf" | "http/json";
  /** Usually credentials. */
  readonly headers: Readonly<Record<string, string>>;
  /** From 0 to 1. */
  readonly samplingRatio: number;
  readonly serviceName: string;
}

/** `[runtime.handlers.NAME]`: how the pods of a RuntimeClass with this handler run. */
export interface HandlerConfig {
  readonly controller: "podsandbox" | "shim";
  /** The OCI runtime. Empty if and only if `runtimeType` is set. */
  readonly path: string;
  /** The containerd shim. Empty if and only if `path` is set. */
  readonly runtimeType: string;
  readonly runtimePath: string;
  readonly ioType: "fifo" | "streaming";
  readonly options: Options;
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  readonly baseRuntimeSpec: string;
  readonly hooksDir: string;
  /** Bytes; 0 for no limit, -1 for `runtime.writable_layer_limit`. */
  readonly writableLayerLimit: number;
  /** Empty for `runtime.user_namespaces`. */
  readonly userNamespaces: "" | "requested" | "auto";
  readonly cniConfDir: string;
  readonly defaultAnnotations: Readonly<Record<string, string>>;
  readonly seccompProfile: string;
  /** 0 for `runtime.createTimeoutSeconds`. */
  readonly createTimeoutSeconds: number;
  readonly execCpuAffinity: "" | "first";
}

/** A value in `options`, which davit passes to the shim without interpreting it. */
export type OptionValue = string | number | boolean | readonly OptionValue[] | Options;

/** The options of a shim, in any form that it defines. */
export interface Options {
  readonly [name: string]: OptionValue;
}
