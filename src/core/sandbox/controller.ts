import type { Operation } from "../operation/index.ts";
import type { KnownIds } from "../store/index.ts";
import type { ProcessIdentity, Sandbox } from "./sandbox.ts";

/** The status of a sandbox, from its controller. */
export interface ControllerStatus {
  /** `SANDBOX_READY` or `SANDBOX_NOTREADY`. Any other value counts as not ready. */
  readonly state: string;
  /** The main process of the sandbox; 0 when it has none. */
  readonly pid: number;
  /** Nanoseconds since 1970; undefined when the sandboxer does not report it. */
  readonly createdAtNs: bigint | undefined;
  /** Additional values by name; empty unless the question is verbose. */
  readonly info: Readonly<Record<string, unknown>>;
}

/** The parameters of a status call. */
export interface StatusQuestion {
  /** Whether the answer needs `info`. */
  readonly verbose: boolean;
  /** Aborted at the deadline of the call. It is created on first use, because it is not free. */
  readonly signal: AbortSignal;
}

/** The state that means ready (containerd.runtime.sandbox.v1, SandboxStatus). */
export const controllerReady = "SANDBOX_READY";
/** The state that means not ready. */
export const controllerNotReady = "SANDBOX_NOTREADY";

/** The result of create(), which is recorded. */
export interface CreatedSandbox {
  /** Path of the pinned network namespace; undefined on host network. */
  readonly netnsPath: string | undefined;
}

/** The result of start(), which is recorded. */
export interface StartedSandbox {
  readonly process: ProcessIdentity | undefined;
  /** The creation time that the sandboxer reports; undefined when it reports none. */
  readonly createdAtNs: bigint | undefined;
}

/** What the containers of a sandbox share: namespaces to join and files to mount. */
export interface SandboxEnvironment {
  /** The paths of pinned namespaces. A namespace of the host is absent. */
  readonly pins: {
    readonly net?: string;
    readonly ipc?: string;
    readonly uts?: string;
    readonly user?: string;
  };
  /** The process that holds the pod's PID namespace, if the pod shares one. */
  readonly pid?: number;
  /** The files of the pod. An absent file is not mounted. */
  readonly files: {
    readonly resolvConf?: string;
    readonly hosts?: string;
    readonly hostname?: string;
    readonly shm?: string;
  };
}

/** How a sandbox ended. */
export interface SandboxExit {
  readonly exitCode: number;
  readonly exitedAtNs: bigint;
  readonly reason: string;
}

/**
 * Creates, watches and removes sandboxes of one kind, that is, what the containers of a pod share.
 *
 * Every call takes the sandbox as a value, so that it also works for a sandbox of an earlier daemon.
 * Deadlines are the caller's: a call ends when its signal is aborted. `not-found` from status() means
 * that the sandboxer does not know the sandbox, `unavailable` that the connection to it is lost.
 */
export interface SandboxController {
  /** The name by which handlers refer to it. */
  readonly name: string;
  /** Creates the namespaces and files of the sandbox. The network is added afterwards. */
  create(sandbox: Sandbox, operation: Operation): Promise<CreatedSandbox>;
  /** Makes the sandbox ready for containers. Its network has been added. */
  start(sandbox: Sandbox, operation: Operation): Promise<StartedSandbox>;
  /** Kills the processes of the sandbox itself. Its namespaces stay for the removal of the network. Idempotent. */
  stop(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** Closes the namespaces, after the network was removed. Idempotent. */
  closeNamespaces(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** Removes everything that create() and start() made, even if they failed midway. Idempotent. */
  shutdown(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** The status of the sandbox. Synchronous for a controller that has it in memory. */
  status(sandbox: Sandbox, question: StatusQuestion): Promise<ControllerStatus> | ControllerStatus;
  /** What its containers share, from memory. */
  environment(sandbox: Sandbox): SandboxEnvironment;
  /** Resolves when a started sandbox has ended by itself or was stopped. */
  wait(sandbox: Sandbox, signal: AbortSignal): Promise<SandboxExit>;
  /**
   * Reattaches to a sandbox that an earlier daemon started. Resolves to undefined when it is alive,
   * else to the reason why it is dead; it does not reject for a broken sandbox. Also called for dead
   * sandboxes, which may still have resources such as an open network namespace.
   */
  load(sandbox: Sandbox, signal: AbortSignal): Promise<string | undefined>;
  /**
   * Applies new resources or overhead of the pod. They are in the value of the sandbox, but not recorded
   * yet. An update is undone by another update with the former resources.
   */
  update(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** The ids of sandboxes of this controller that are not in `known`, because their records were lost. */
  orphans(known: KnownIds): Promise<readonly string[]>;
  /**
   * Removes everything of this controller that belongs to no id in `known`. Returns a line for each
   * removed object.
   */
  sweep(known: KnownIds, signal: AbortSignal): Promise<readonly string[]>;
}
