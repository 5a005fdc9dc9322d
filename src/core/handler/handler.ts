/**
 * The handler that a sandbox runs under, as it was when the sandbox was made.
 *
 * It is kept with the sandbox, because a configuration that changes later must not change what
 * an older pod is or who answers for it.
 */
export interface BoundHandler {
  /** What the client asked for, "" for the default: what `runtime_handler` answers. */
  readonly requested: string;
  /** The handler's name in the configuration of that time. */
  readonly name: string;
  /** The controller that keeps the sandbox. */
  readonly controller: string;
  /** OCI runtime under the monitor, or undefined where a containerd shim serves. */
  readonly path?: string;
  /** Type of the containerd shim, where one serves. */
  readonly runtimeType?: string;
  /** The shim's program, where it is not the one that its type stands for. */
  readonly runtimePath?: string;
  /** Handed to the shim. JSON values only. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** A handler as Status lists it. */
export interface HandlerFeatures {
  readonly name: string;
  readonly recursiveReadOnlyMounts: boolean;
  readonly userNamespaces: boolean;
}

/** What an OCI runtime reports that it can do (OCI runtime spec, features.md). */
export interface RuntimeFeatures {
  /** Id-mapped mounts, without which a user namespace cannot share an image. */
  readonly idMappedMounts: boolean;
  /** Every mount option that it knows; `rro` among them means recursive read-only mounts. */
  readonly mountOptions: readonly string[];
  readonly seccomp: boolean;
}

/** What the configuration says of a handler's containers. Paths are empty where there is none. */
export interface HandlerSettings {
  readonly podAnnotations: readonly string[];
  readonly containerAnnotations: readonly string[];
  readonly privilegedWithoutHostDevices: boolean;
  readonly privilegedWithoutHostDevicesAllDevicesAllowed: boolean;
  readonly cgroupWritable: boolean;
  readonly baseRuntimeSpec: string;
  readonly hooksDir: string;
}

/** Which handlers there are. */
export interface Handlers {
  /** The handler that a request names, "" for the default; `invalid-argument` with the list for an unknown one. */
  bind(requested: string): BoundHandler;
  /**
   * `failed-precondition` naming handler and reason when pods of it cannot have user namespaces.
   * Waits until the handler's runtime has been asked.
   */
  checkUserNamespaces(handler: BoundHandler): Promise<void>;
}
