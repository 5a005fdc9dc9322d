/**
 * The handler of a sandbox, as it was configured when the sandbox was created.
 *
 * It is stored with the sandbox, because a later change of the configuration must not affect existing
 * pods.
 */
export interface BoundHandler {
  /** The requested name, "" for the default. `runtime_handler` in answers shows it. */
  readonly requested: string;
  /** The handler's name in the configuration. */
  readonly name: string;
  /** The name of the sandbox controller. */
  readonly controller: string;
  /** The OCI runtime; undefined for a handler with a containerd shim. */
  readonly path?: string;
  /** The type of the containerd shim, if the handler has one. */
  readonly runtimeType?: string;
  /** The shim's program, if it differs from the one that its type implies. */
  readonly runtimePath?: string;
  /** How the shim's containers get their streams; undefined for fifos. */
  readonly ioType?: "streaming";
  /** Options for the shim. JSON values only. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** A handler in the answer of Status. */
export interface HandlerFeatures {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
  /** Its containers can be captured and restored, where CRIU is installed. The CRI has no field for it. */
  readonly checkpoints: boolean;
}

/** The features that an OCI runtime reports (OCI runtime spec, features.md). */
export interface RuntimeFeatures {
  /** Id-mapped mounts, without which a user namespace cannot share an image. */
  readonly idMappedMounts: boolean;
  /** The supported mount options. `rro` means recursive read-only mounts. */
  readonly mountOptions: readonly string[];
  readonly seccomp: boolean;
  /** It was built with CRIU. */
  readonly checkpoints?: boolean;
  /** What it does of those fields of a spec that not every runtime knows. */
  readonly optionalFields?: readonly OptionalField[];
}

/**
 * Fields of a spec that an OCI runtime ignores without a word if it does not know them: of runtime-spec 1.1 to 1.3, and
 * those that need a feature of the node.
 */
export type OptionalField =
  | "process.scheduler"
  | "process.execCPUAffinity"
  | "process.ioPriority"
  | "linux.netDevices"
  | "linux.memoryPolicy"
  | "linux.seccomp.notify"
  | "linux.intelRdt"
  | "linux.intelRdt.schemata"
  | "linux.intelRdt.enableMonitoring";

/** The settings of a handler's containers. A path that is not set is empty. */
export interface HandlerSettings {
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  readonly baseRuntimeSpec: string;
  readonly hooksDir: string;
  /** Maximum size of a writable layer, in bytes; 0 for no limit, -1 for the one of all handlers. */
  readonly writableLayerLimit: number;
  /** What the runtime gets unless pod or container override it. */
  readonly defaultAnnotations: Readonly<Record<string, string>>;
  /** The file of the profile that RuntimeDefault means; empty for davit's own. */
  readonly seccompProfile: string;
  /** The time for a pod or container to be created; 0 for the one of all handlers. */
  readonly createTimeoutSeconds: number;
  /** On which CPU commands in a container start: the first of its cpuset, or "" where the runtime puts them. */
  readonly execCpuAffinity: "" | "first";
}

/** The configured handlers. */
export interface Handlers {
  /** The handler of this name, "" for the default; `invalid-argument` with the known names for an unknown one. */
  bind(requested: string): BoundHandler;
  /**
   * Rejects with `failed-precondition`, the handler and the reason when its pods cannot have user
   * namespaces. Waits until the features of the handler's runtime are known.
   */
  checkUserNamespaces(handler: BoundHandler): Promise<void>;
}
