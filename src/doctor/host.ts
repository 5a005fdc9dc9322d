import type { NetworkReading, NetworkTrial } from "./network-trial.ts";
import type { ImageTrial, RegistryTrial } from "./registry-trial.ts";
import type { StatusResponse, VersionResponse } from "../gen/runtime/v1/api_pb.ts";
import type { MountEntry } from "../linux/mount/index.ts";

/** What lies at a path; a symbolic link is followed. */
export interface FileInfo {
  readonly kind: "file" | "directory" | "socket" | "other";
  /** The permission bits. */
  readonly mode: number;
  readonly modifiedMs: number;
}

/** Room on the file system that a path is on. */
export interface Space {
  readonly totalBytes: number;
  /** For root. */
  readonly freeBytes: number;
  /** 0 where the file system has no fixed number of them (btrfs). */
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** How a command ended: `code` is undefined when it could not be started or was killed. */
export interface CommandResult {
  readonly code: number | undefined;
  readonly stdout: string;
  /** What it said of a failure, or why it did not start. */
  readonly stderr: string;
}

/** What a connect to a unix socket met. */
export type ConnectProbe = "open" | "refused" | "denied" | "absent" | "failed";

/** What a CRI server said of itself; the errors are for a person. */
export interface CriAnswer {
  readonly version?: VersionResponse;
  readonly status?: StatusResponse;
  /** Why there is no version, or no status. */
  readonly error?: string;
  /** The server said that it is not ready yet. */
  readonly recovering?: boolean;
}

/**
 * The machine, as far as the checks look at it. Reads answer `undefined` for what is not there or
 * may not be read, and never throw for that. Each call ends by itself, but for files on a dead
 * network mount: the examination has deadlines.
 */
export interface Host {
  readonly isRoot: boolean;
  /** As `uname -r` prints it. */
  readonly kernelRelease: string;
  /** Where programs are looked up; davit serve may have another one. */
  readonly searchPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Of the wall clock. */
  nowMs(): number;

  read(path: string): Promise<string | undefined>;
  /** The names in a directory, sorted. */
  list(path: string): Promise<readonly string[] | undefined>;
  fileInfo(path: string): Promise<FileInfo | undefined>;
  space(path: string): Promise<Space | undefined>;
  mounts(): Promise<readonly MountEntry[]>;
  /** The path of a program; of a path itself, when a program is there. */
  find(program: string): string | undefined;
  /** Runs a program to its end, for 10 s at most. */
  command(program: string, args: readonly string[]): Promise<CommandResult>;
  /** Whether a process of this pid lives. */
  lives(pid: number): boolean;

  /** Loads the native addon, opens a pidfd and runs a program by it: why that failed. */
  tryAddon(): Promise<string | undefined>;
  /** Mounts a volatile overlay in a scratch directory below an existing one: why that failed. */
  tryOverlay(directory: string): Promise<string | undefined>;
  /** Sets an attribute as overlayfs needs it on a scratch file in the directory: why that failed. */
  tryAttributes(directory: string): Promise<string | undefined>;
  /** Runs iptables in a scratch network namespace as the plugins do: why that failed. */
  tryIptables(program: string): Promise<string | undefined>;

  probeConnect(socket: string): Promise<ConnectProbe>;
  /** Version and verbose Status, 5 s at most. */
  askCri(socket: string): Promise<CriAnswer>;

  readNetwork(directory: string, binDirs: readonly string[]): Promise<NetworkReading>;
  /** Attaches a scratch namespace to the network that `readNetwork` read, and detaches it again. */
  tryNetwork(reading: NetworkReading, pluginTimeoutMs: number): Promise<NetworkTrial>;
  tryRegistry(registry: string, configDir: string): Promise<RegistryTrial>;
  tryImage(image: string, configDir: string): Promise<ImageTrial>;

  /** For fixes. These throw. */
  write(path: string, text: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  remove(path: string): Promise<void>;
}
