import type { Logger } from "../../base/logger.ts";
import type { AttachedClient, ContainerBundle } from "../../core/container/index.ts";
import type { Operation, StepObserver } from "../../core/operation/index.ts";
import type { Child } from "../../linux/process/index.ts";
import type { StateLayout } from "./state-layout.ts";

/** Which program monitors a container, as `runtime.monitor` names it. */
export type MonitorName = "conmon" | "davit";

/**
 * The program beside each container: it runs the OCI runtime's `create`, holds the container's streams, writes its log,
 * reaps its process, writes its exit code to `<exits>/<id>` by rename, and ends. It is a process of its own, so that a
 * container continues without the daemon.
 *
 * Two implementations: `monitor`, davit's own, and `conmon`. A container keeps the one that it was started with
 * (RuntimeState).
 */
export interface ContainerMonitor {
  start(options: MonitorStart): Promise<StartingMonitor>;
  /**
   * Attaches a client to a container's streams, whose terminal follows the client's; see ContainerRuntime.attach. The monitor
   * serves it when the operation enters `wait-for-end`: a connection alone says only that the monitor will.
   */
  attach(target: AttachTarget, client: AttachedClient, operation: Operation): Promise<void>;
  /**
   * Continues a log in a new file at its path, and waits until that is in use; see ContainerRuntime.reopenLog. While the
   * path still names the file in use, nothing is done, as its lines would be lost. After an error no new file exists
   * at the path. `deadline-exceeded` when the monitor does not do it in time.
   */
  reopenLog(target: LogTarget): Promise<void>;
  /** Closes what is kept open. Monitors continue. */
  close(): void;
}

/** What {@link ContainerMonitor} works with. */
export interface MonitorDeps {
  readonly log: Logger;
  /** Path or name of conmon. */
  readonly conmonPath: string;
  /** The size at which a log is emptied, in bytes; 0: never. */
  readonly logSizeMax: number;
  readonly expectMigration?: ((isOver: () => boolean) => void) | undefined;
  readonly onStep?: StepObserver | undefined;
}

/** What a monitor is started with. */
export interface MonitorStart {
  readonly runtimePath: string;
  readonly paths: StateLayout;
  readonly bundle: ContainerBundle;
  /** The open log. Undefined: nothing is logged. */
  readonly logFd: number | undefined;
  /** memory.events of a cgroup that is removed with its last process; conmon finds it by itself. */
  readonly memoryEvents?: string | undefined;
  /** Undefined: the OCI runtime creates the process of the spec. */
  readonly restore?: MonitorRestore | undefined;
}

/** A monitor that is creating its container. */
export interface StartingMonitor {
  readonly child: Child;
  /** The pid of the container's process, which waits for its start; rejects with the runtime's failure. */
  readonly answer: Promise<number>;
}

/** What an OCI runtime needs to restore processes. */
export interface MonitorRestore {
  /** The directory of CRIU's images. */
  readonly images: string;
  /** Further options of the OCI runtime's `restore`. */
  readonly options: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** A container to attach to. */
export interface AttachTarget {
  readonly id: string;
  readonly paths: StateLayout;
  readonly monitorPid: number;
  /** Settles when its first process has ended. */
  readonly processEnded: Promise<unknown>;
  readonly ended: Promise<unknown>;
}

/** A log that is to continue in a new file. */
export interface LogTarget {
  readonly id: string;
  readonly paths: StateLayout;
  readonly monitorPid: number;
  readonly logPath: string;
  /** See LogDirectoryOptions. */
  readonly linkedRoots: readonly string[];
  /** How long the monitor may take. */
  readonly timeoutMs?: number;
  /** Enters the stages, if given. */
  readonly operation?: Pick<Operation, "enter"> | undefined;
}
