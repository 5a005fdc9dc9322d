import type { BoundHandler } from "../handler/index.ts";
import type { LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { OciProcess, OciResources, OciSpec } from "../oci/index.ts";
import type { Operation } from "../operation/index.ts";
import type { ProcessIdentity } from "../sandbox/index.ts";
import type { ClientStreams, ExecEnd } from "../streaming/index.ts";
import type { KnownIds } from "../store/index.ts";

/**
 * The longest part of a line in a CRI log, in bytes, by who writes the log: a longer line is written in
 * parts. conmon's is the size of its buffer, which cannot be set.
 */
export const logLineBytes = { conmon: 8 * 1024, shim: 16 * 1024 } as const;

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
  /** CRI log to write, in a directory that is there; undefined for none. */
  readonly logPath: string | undefined;
  readonly terminal: boolean;
  /** False: the process reads end of file. */
  readonly stdin: boolean;
  /** The process's stdin ends with the first client that attached to it. */
  readonly stdinOnce: boolean;
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
  readonly finishedAtNs: bigint;
  /** True when the kernel killed a process of it for want of memory. */
  readonly oomKilled: boolean;
  /** True when nobody recorded the exit: code 255, reason Unknown. */
  readonly unknown: boolean;
}

/** What a synchronous exec gave. Each stream is cut at 16 MiB (api.proto, ExecSync). */
export interface ExecResult {
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  readonly exitCode: number;
}

/** New limits of a running container. */
export interface ContainerLimits {
  /** In the CRI's words: 0 and empty leave what there is, -1 takes a limit away. */
  readonly resources: LinuxContainerResources;
  /** The same for an OCI runtime. */
  readonly spec: OciResources;
}

/** A client at the streams of a command. */
export interface ProcessClient {
  readonly streams: ClientStreams;
  /** The command gets a terminal of its own; there is no stderr then. */
  readonly terminal: boolean;
}

/** A client at the streams of a container's own process. */
export interface AttachedClient extends ProcessClient {
  /** Whether the process has a stdin, and one that ends with the first client that wrote to it. */
  readonly stdin: "none" | "once" | "open";
}

/**
 * Runs containers. Two implementations: conmon with an OCI runtime, and a containerd shim.
 *
 * Every call names the container by its id and can follow an earlier daemon's start.
 */
export interface ContainerRuntime {
  /**
   * Creates and starts the container's process. On failure nothing of it stays; the message is
   * the OCI runtime's own. What it builds goes with remove(). A caller that gave up says so by
   * `operation.signal`; the undoing takes 5 s at most, what then still hangs goes with remove().
   */
  start(bundle: ContainerBundle, operation: Operation): Promise<StartedContainer>;
  /**
   * Resolves at the end of the container's process, with everything of its cgroup ended and deleted
   * (what hangs in the kernel is logged and left to remove()). `not-found` for a container that was
   * neither started nor loaded here.
   */
  wait(id: string, signal: AbortSignal): Promise<ContainerExit>;
  /**
   * Takes up a container that an earlier daemon started: afterwards wait() tells its end, also
   * one that came meanwhile.
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
   * Looks for a start that an earlier daemon did not live to record. A container whose command was
   * told to run is taken up as by load(), also when it has ended since; of one whose command never
   * ran nothing stays, and undefined is told.
   */
  loadUnrecorded(id: string): Promise<StartedContainer | undefined>;
  /**
   * Sends a signal to the container's process; done when it is gone already. A container that somebody
   * paused goes on, so that it can hear it.
   */
  kill(id: string, signalNumber: number): Promise<void>;
  /**
   * Ends every process of the container now, the monitor's help not needed. `deadline-exceeded` for
   * one that hangs in the kernel.
   */
  killAll(id: string): Promise<void>;
  /**
   * Runs a command in the container. Resolves when the
   * command itself has ended, whatever it left in the background. A command that cannot be started
   * is an error with the OCI runtime's words. When the operation is aborted its processes are killed.
   */
  execSync(id: string, process: OciProcess, operation: Operation): Promise<ExecResult>;
  /**
   * Runs a command in the container with a client at its streams, both ways with back-pressure.
   * Resolves when the command has ended and the client has taken all that it wrote; what it left in the
   * background is not waited for. When the operation is aborted (the client is gone), the command
   * gets SIGHUP and, half a second later, all of its session SIGKILL.
   */
  exec(
    id: string,
    process: OciProcess,
    client: ProcessClient,
    operation: Operation,
  ): Promise<ExecEnd>;
  /**
   * Joins a client to the container's streams, from now on; others may be there, too. Resolves at the
   * container's end, when the client has taken everything. Rejects when the operation is aborted, and
   * with `resource-exhausted` for a client that does not keep up: the container never waits for one.
   * Neither touches the container.
   */
  attach(id: string, client: AttachedClient, operation: Operation): Promise<void>;
  /**
   * Writes limits to a running container: all of them or, when it rejects, none. The result takes
   * them back. `failed-precondition` for less memory than the container uses now, naming both, and
   * for one that has ended. An aborted signal ends it as a failure does.
   */
  update(id: string, limits: ContainerLimits, signal: AbortSignal): Promise<() => Promise<void>>;
  /**
   * Closes the log and opens it again at its path (kubelet has rotated it away). Does nothing while
   * the open log is still there. On failure there is no new file.
   */
  reopenLog(id: string, logPath: string): Promise<void>;
  /**
   * Removes everything of a container, at whatever point its start, its end or an earlier removal
   * stopped, also in another daemon; what still runs of it is killed. Idempotent. `operation`, where
   * there is one, hears of the stages.
   */
  remove(id: string, operation?: Pick<Operation, "enter">): Promise<void>;
  /** The ids of containers that something is left of here and that are not `known`, for remove(). */
  orphans(known: KnownIds): Promise<readonly string[]>;
}
