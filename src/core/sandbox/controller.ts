import type { Operation } from "../operation/index.ts";
import type { KnownIds } from "../store/index.ts";
import type { ProcessIdentity, Sandbox } from "./sandbox.ts";

/** What a controller knows of one of its sandboxes. */
export interface ControllerStatus {
  /** `SANDBOX_READY` or `SANDBOX_NOTREADY`; whatever else a sandboxer says counts as not ready. */
  readonly state: string;
  /** The process that stands for the sandbox, 0 when there is none. */
  readonly pid: number;
  /** Nanoseconds since 1970; undefined when the sandboxer does not say. */
  readonly createdAtNs: bigint | undefined;
  /** Verbose facts by name; only when they were asked for. */
  readonly info: Readonly<Record<string, unknown>>;
}

/** What a controller is asked with. */
export interface StatusQuestion {
  /** Whether `info` is wanted. */
  readonly verbose: boolean;
  /** Aborted when nobody waits for the answer any more. Costs nothing while nobody asks for it. */
  readonly signal: AbortSignal;
}

/** The state that means ready (containerd.runtime.sandbox.v1, SandboxStatus). */
export const controllerReady = "SANDBOX_READY";
/** The state that means not ready. */
export const controllerNotReady = "SANDBOX_NOTREADY";

/** What create() made and the record must hold from then on. */
export interface CreatedSandbox {
  /** Path of the pinned network namespace; undefined on host network. */
  readonly netnsPath: string | undefined;
}

/** What start() made and the record must hold from then on. */
export interface StartedSandbox {
  readonly process: ProcessIdentity | undefined;
  /** The sandboxer's own word for when the sandbox came to be; undefined when it has none. */
  readonly createdAtNs: bigint | undefined;
}

/** What the containers of a sandbox share: paths to join and to mount. */
export interface SandboxEnvironment {
  /** Pinned namespaces; one is missing where the pod uses the host's. */
  readonly pins: {
    readonly net?: string;
    readonly ipc?: string;
    readonly uts?: string;
    readonly user?: string;
  };
  /** Process that holds the pod's PID namespace, where there is one. */
  readonly pid?: number;
  /** Files of the pod; one that is missing is not mounted. */
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
 * Keeps sandboxes of one kind: builds what a pod's containers share and says how it is.
 *
 * Every call takes the sandbox's value and works from that, so that a controller can be asked
 * about a sandbox that an earlier daemon made. Deadlines are the caller's: a call ends when its
 * signal is aborted. `not-found` from status() says that the sandboxer does not know the
 * sandbox (any more), `unavailable` that the connection to it is gone.
 */
export interface SandboxController {
  /** The name that handlers refer to it by. */
  readonly name: string;
  /** Makes the namespaces and files that belong to the sandbox; the network is added afterwards. */
  create(sandbox: Sandbox, operation: Operation): Promise<CreatedSandbox>;
  /** Makes the sandbox able to run containers; its network is there. */
  start(sandbox: Sandbox, operation: Operation): Promise<StartedSandbox>;
  /** Ends every process of the sandbox itself; its namespaces stay, for the network's removal. Idempotent. */
  stop(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** Gives the namespaces back; the network is gone. Idempotent. */
  closeNamespaces(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** Gives everything back that create() and start() made, at whatever point they ended. Idempotent. */
  shutdown(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** How the sandbox is; at once from a controller that knows it from memory. */
  status(sandbox: Sandbox, question: StatusQuestion): Promise<ControllerStatus> | ControllerStatus;
  /** What its containers share. From memory. */
  environment(sandbox: Sandbox): SandboxEnvironment;
  /** Resolves when a started sandbox ended by itself or was stopped. */
  wait(sandbox: Sandbox, signal: AbortSignal): Promise<SandboxExit>;
  /**
   * Takes up a sandbox that an earlier daemon started. Undefined when it lives; else why not.
   * Never rejects for a sandbox that is broken: that is an answer. Also called for sandboxes that
   * were dead already, for what they still have (an open network namespace, say).
   */
  load(sandbox: Sandbox, signal: AbortSignal): Promise<string | undefined>;
  /**
   * New resources or overhead of the pod, already in the sandbox's value and not yet on record. An
   * update that is taken back comes as another one, with the earlier ones.
   */
  update(sandbox: Sandbox, signal: AbortSignal): Promise<void>;
  /** Ids, not in `known`, of which this controller still has something: their records were lost. */
  orphans(known: KnownIds): Promise<readonly string[]>;
  /**
   * Removes what a lost record left behind: everything of this controller's that belongs to no
   * id in `known`. Answers with a line for each thing removed.
   */
  sweep(known: KnownIds, signal: AbortSignal): Promise<readonly string[]>;
}
