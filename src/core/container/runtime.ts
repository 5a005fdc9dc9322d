import type { BoundHandler } from "../handler/index.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { OciProcess, OciResources, OciSpec } from "../oci/index.ts";
import type { Operation } from "../operation/index.ts";
import type { ProcessIdentity } from "../sandbox/index.ts";
import type { ClientStreams, ExecEnd } from "../streaming/index.ts";
import type { KnownIds } from "../store/index.ts";
import type { ContainerUsage } from "./usage.ts";

/**
 * The longest part of a line in a CRI log, in bytes, by the program that writes the log: a longer line is
 * written in parts. davit's, for shims and in davit-monitor, is that of containerd; conmon's is the size of its buffer,
 * which cannot be configured.
 */
export const logLineBytes = { conmon: 8 * 1024, davit: 16 * 1024 } as const;

/** What a runtime needs to make a container of a spec. */
export interface ContainerBundle {
  readonly id: string;
  readonly sandboxId: string;
  readonly handler: BoundHandler;
  /** OCI runtime of the container's handler: name or path. */
  readonly runtimePath: string;
  /** Its `root.path` is an absolute path. */
  readonly spec: OciSpec;
  /** cgroupfs path of the container below each hierarchy's root: the spec's `linux.cgroupsPath`. */
  readonly cgroupPath: string;
  /** CRI log to write; missing directories of it are made. Undefined for none. */
  readonly logPath: string | undefined;
  readonly terminal: boolean;
  /** False: the process reads end of file. */
  readonly stdin: boolean;
  /** The process's stdin ends with the first client that attached to it. */
  readonly stdinOnce: boolean;
  /** Called when the process is created, before it runs the command; a rejection fails the start. */
  readonly beforeCommand?: ((pid: number) => Promise<void>) | undefined;
  /** The process continues from a checkpoint, instead of the command of the spec. */
  readonly restore?: RestoreSource | undefined;
}

/** What a container's processes are restored from. */
export interface RestoreSource {
  /** Directory with the images of CRIU. Nobody but the node's root can change it. */
  readonly images: string;
  /** Closes the TCP connections that were established; otherwise they fail the restore. */
  readonly closeTcp: boolean;
  /** The hostname of the pod: that of the images is not used. */
  readonly hostname: string;
}

/** How the memory of a container is captured. */
export interface CaptureRequest {
  /** An empty directory (mode 0700) for the images of CRIU. */
  readonly images: string;
  /** A directory for CRIU's `dump.log` and `stats-dump`. */
  readonly work: string;
  /** Captures processes with established TCP connections, which a restore closes; otherwise they are an error. */
  readonly closeTcp: boolean;
  /** False: the processes end with the capture. */
  readonly leaveRunning: boolean;
}

/** A container whose process runs. */
export interface StartedContainer {
  readonly process: ProcessIdentity;
  readonly monitor: ProcessIdentity | undefined;
  /** Nanoseconds since 1970. */
  readonly startedAtNs: bigint;
}

/** How a container's process ended. */
export interface ContainerExit {
  readonly exitCode: number;
  /** Nanoseconds since 1970, up to 10 ms early: a tick of the kernel's clock of file times. */
  readonly finishedAtNs: bigint;
  /** True when the OOM killer killed a process of it. */
  readonly oomKilled: boolean;
  /** True when the exit was not recorded: code 255, reason Unknown. */
  readonly unknown: boolean;
  /** True when a capture ended it that did not leave it running. */
  readonly captured?: boolean;
  /** What it used until then; undefined if that is not known. */
  readonly usage?: ContainerUsage | undefined;
}

/** The result of a synchronous exec. Each stream is cut at 16 MiB (api.proto, ExecSync). */
export interface ExecResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

/** New limits of a running container. */
export interface ContainerLimits {
  /** As in the CRI: 0 and empty change nothing, -1 removes a limit. */
  readonly resources: LinuxContainerResources;
  /** The same for an OCI runtime. */
  readonly spec: OciResources;
}

/** A client at the streams of a command. */
export interface ProcessClient {
  readonly streams: ClientStreams;
  /** The command gets its own terminal, and has no stderr then. */
  readonly terminal: boolean;
}

/** A client at the streams of a container's own process. */
export interface AttachedClient extends ProcessClient {
  /** Whether the process has a stdin, and one that ends with the first client that wrote to it. */
  readonly stdin: "none" | "once" | "open";
}

/** Pauses running containers and lets them run on. */
export interface ContainerFreezer {
  /**
   * Freezes all processes of a running container. Idempotent. `deadline-exceeded` for a process that hangs in the
   * kernel; then all run on. `failed-precondition` for a container that has ended.
   */
  pause(id: string, signal: AbortSignal): Promise<void>;
  /** Lets the processes of a container run on. Idempotent; no error when it has ended. */
  resume(id: string): Promise<void>;
  /** Whether the processes of a container are frozen; false when it has ended. */
  isPaused(id: string): Promise<boolean>;
  /**
   * Has the kernel free memory of a container, as much as it can. How many bytes fewer the container uses now.
   * `failed-precondition` where this takes cgroup v2 or the container's cgroup is not on this host.
   */
  reclaimMemory(id: string, signal: AbortSignal): Promise<bigint>;
}

/** Captures the memory of running containers. ContainerBundle.restore continues from what it captured. */
export interface ContainerCaptures {
  /**
   * Captures the processes of a running container, also of a paused one, which stays paused. After an error, which
   * names what cannot be captured, they run on or stay paused. `unimplemented` where the node lacks CRIU or the
   * container's OCI runtime cannot do it; `failed-precondition` for what CRIU cannot capture.
   */
  capture(id: string, request: CaptureRequest, operation: Operation): Promise<void>;
  /**
   * Why no container of a handler can be captured, or continue from what was captured; undefined where they can, as far
   * as that depends on the handler.
   */
  obstacle(handler: BoundHandler, use: "capture" | "restore"): string | undefined;
  /** Path or name of the OCI runtime of a handler: none can restore what another has captured. */
  ociRuntimeOf(handler: BoundHandler): string;
}

/**
 * Runs containers. Two implementations: a monitor with an OCI runtime, and a containerd shim.
 *
 * Every call names the container by its id and can follow an earlier daemon's start.
 */
export interface ContainerRuntime {
  /** Pauses containers. */
  readonly freezer: ContainerFreezer;
  /** Captures containers for checkpoints. */
  readonly captures: ContainerCaptures;
  /**
   * Creates and starts the container's process. A failure leaves nothing behind, and has the OCI
   * runtime's message. remove() removes what start() creates. When `operation.signal` is aborted, the
   * rollback takes 5 s at most; remove() removes what hangs then.
   */
  start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer>;
  /**
   * Resolves at the end of the container's process, with everything of its cgroup ended and deleted
   * (a process that hangs in the kernel is logged and left to remove()). `not-found` for a container that was
   * neither started nor loaded here.
   */
  wait(id: string, signal: AbortSignal): Promise<ContainerExit>;
  /**
   * Adopts a container that an earlier daemon started: afterwards wait() reports its end, also one that
   * happened in between.
   */
  load(
    id: string,
    started: {
      readonly runtimePath: string;
      readonly process: ProcessIdentity;
      readonly monitor: ProcessIdentity | undefined;
      readonly cgroupPath: string;
    },
  ): Promise<void>;
  /**
   * The spec that the container was started with, as it was serialized; undefined before. Rejects for a
   * damaged one. Reads only.
   */
  spec(id: string): Promise<OciSpec | undefined>;
  /**
   * Finds a start that an earlier daemon did not record before it ended. A container whose command was
   * started is adopted as by load(), also when it has ended since. One whose command never ran is
   * removed, and the result is undefined.
   */
  loadUnrecorded(id: string): Promise<StartedContainer | undefined>;
  /**
   * Sends a signal to the container's process; no error when it has ended already. A paused
   * container is resumed, so that it receives the signal.
   */
  kill(id: string, signalNumber: number): Promise<void>;
  /**
   * Kills every process of the container, without the help of its monitor. `deadline-exceeded` for
   * a process that hangs in the kernel.
   */
  killAll(id: string): Promise<void>;
  /**
   * Runs a command in the container. Resolves when the
   * command itself has ended, without waiting for its background processes. A command that cannot be
   * started is an error with the OCI runtime's message. When the operation is aborted its processes are killed.
   */
  execSync(id: string, process: OciProcess, operation: Operation): Promise<ExecResult>;
  /**
   * Runs a command in the container with a client at its streams, with backpressure in both directions.
   * Resolves when the command has ended and the client has read all of its output; background
   * processes are not waited for. When the operation is aborted (the client has left), the command
   * gets SIGHUP and, half a second later, all of its session SIGKILL.
   */
  exec(
    id: string,
    process: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd>;
  /**
   * Attaches a client to the container's streams, in addition to others. Resolves at the container's end,
   * when the client has read everything. The client gets what the container writes after the operation has
   * entered `wait-for-end`, all of it. Rejects when the operation is aborted, and
   * with `resource-exhausted` for a client that does not keep up: the container never waits for one.
   * Neither touches the container.
   */
  attach(id: string, client: AttachedClient, operation: Operation): Promise<void>;
  /**
   * Writes limits to a running container: all of them or, when it rejects, none. The result
   * reverts them. `failed-precondition` for less memory than the container uses now, naming both, and
   * for one that has ended. An aborted signal is a failure.
   */
  update(id: string, limits: ContainerLimits, signal: AbortSignal): Promise<() => Promise<void>>;
  /**
   * Closes the log and opens it again at its path (kubelet has rotated it away). Does nothing while
   * the open log still exists. A failure leaves no new file at the path. `operation`, if given, enters the stages.
   */
  reopenLog(id: string, logPath: string, operation?: Pick<Operation, "enter">): Promise<void>;
  /**
   * Completes a rotation of the log that got stuck between the use of the new file and its name, mostly as an earlier
   * daemon died: the file gets the path of the log, and one that is there the name of a rotated log. True when that was
   * done. When a container ends, this is done before wait() resolves.
   */
  completeRotation(id: string): Promise<boolean>;
  /**
   * Removes everything of a container, also when a start, an end or an earlier removal was interrupted, by
   * this daemon or an earlier one; remaining processes are killed. Idempotent. `operation`, if given,
   * enters the stages.
   */
  remove(id: string, operation?: Pick<Operation, "enter">): Promise<void>;
  /** The ids of containers that are not `known` and have files or processes left, for remove(). */
  orphans(known: KnownIds): Promise<readonly string[]>;
}
