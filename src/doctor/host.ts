import type { ImagesConfig } from "../config/config.ts";
import type { NetworkReading, NetworkProbe } from "./network-probe.ts";
import type { ImageProbe, RegistryTrial } from "./registry-probe.ts";
import type { StatusResponse, VersionResponse } from "../gen/runtime/v1/api_pb.ts";
import type { MountEntry } from "../linux/mount/index.ts";

/** The file at a path; symbolic links are followed. */
export interface FileInfo {
  readonly kind: "file" | "directory" | "socket" | "other";
  /** The permission bits. */
  readonly mode: number;
  readonly modifiedMs: number;
  readonly inode: bigint;
}

/** Space on the file system that holds a path. */
export interface DiskSpace {
  readonly totalBytes: number;
  /** Free for root. */
  readonly freeBytes: number;
  /** 0 where the file system has no fixed number of inodes (btrfs). */
  readonly totalInodes: number;
  readonly freeInodes: number;
}

/** The result of a command: `code` is undefined when it could not be started or was killed. */
export interface CommandResult {
  readonly code: number | undefined;
  readonly stdout: string;
  /** Its stderr, or why it did not start. */
  readonly stderr: string;
}

/** The result of a connect to a unix socket. */
export type ConnectProbe = "open" | "refused" | "denied" | "absent" | "failed";

/** The private keys for images in a directory. */
export interface ImageKeys {
  readonly count: number;
  /** Why files in it are not used, or why it cannot be read. */
  readonly problems: readonly string[];
}

/** The files in the directory of the plugins that davit starts. */
export interface PluginFiles {
  /** Index and name of those that it starts. */
  readonly names: readonly string[];
  /** Those that it must not start. */
  readonly refused: readonly { readonly file: string; readonly reason: string }[];
}

/** The Version and verbose Status of a CRI server. */
export interface CriStatus {
  readonly version?: VersionResponse;
  readonly status?: StatusResponse;
  /** Why the version or the status is missing. */
  readonly error?: string;
  /** The server answered that it is not ready yet. */
  readonly recovering?: boolean;
}

/**
 * The machine, as the checks see it. Reads resolve with `undefined` for what does not exist or
 * must not be read, and never throw for that. Each call ends by itself, except for files on a dead
 * network mount: `examine` has deadlines for those.
 */
export interface Host {
  readonly isRoot: boolean;
  /** The release, as `uname -r` prints it. */
  readonly kernelRelease: string;
  /** The PATH of this process; that of davit serve may differ. */
  readonly searchPath: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The wall clock, in milliseconds since 1970. */
  nowMs(): number;

  read(path: string): Promise<string | undefined>;
  /** The names in a directory, sorted. */
  list(path: string): Promise<readonly string[] | undefined>;
  fileInfo(path: string): Promise<FileInfo | undefined>;
  diskSpace(path: string): Promise<DiskSpace | undefined>;
  mounts(): Promise<readonly MountEntry[]>;
  /** The path of an executable, given by name or by path; undefined if there is none. */
  findProgram(program: string): string | undefined;
  /** Runs a program until it exits, for 10 s at most. */
  runCommand(program: string, args: readonly string[]): Promise<CommandResult>;
  /** Whether a process with this pid exists. */
  isProcessAlive(pid: number): boolean;

  /** Loads the native addon, opens a pidfd and runs a program with it. Resolves with the error, if any. */
  probeAddon(): Promise<string | undefined>;
  /** Runs davit-monitor, which rejects that it has no arguments. Resolves with the error, if any. */
  probeMonitor(): Promise<string | undefined>;
  /** Mounts a volatile overlay in a scratch directory below `directory`. Resolves with the error, if any. */
  probeOverlay(directory: string): Promise<string | undefined>;
  /** Sets an xattr of overlayfs on a scratch directory below `directory`. Resolves with the error, if any. */
  probeXattrs(directory: string): Promise<string | undefined>;
  /** Adds rules like those of CNI plugins in a scratch network namespace. Resolves with the error, if any. */
  probeIptables(program: string): Promise<string | undefined>;

  probeConnect(socket: string): Promise<ConnectProbe>;
  /** Asks for Version and verbose Status, for 5 s each at most. */
  criStatus(socket: string): Promise<CriStatus>;

  readNetwork(
    directory: string,
    cni: Pick<NetworkReading, "binDirs" | "builtin">,
  ): Promise<NetworkReading>;
  /** Attaches a scratch namespace to the network that `readNetwork` returned, and detaches it. */
  probeNetwork(reading: NetworkReading, pluginTimeoutMs: number): Promise<NetworkProbe>;
  probeRegistry(registry: string, configDir: string): Promise<RegistryTrial>;
  probeImage(image: string, settings: ImagesConfig): Promise<ImageProbe>;
  /** Reads the private keys for images in a directory. */
  readImageKeys(directory: string): Promise<ImageKeys>;
  /** Looks for plugins of the node (NRI), as davit serve does. Starts none. */
  readPlugins(pluginDirectory: string, configDirectory: string): Promise<PluginFiles>;

  /** The changes that fixes make. They reject when they fail. */
  write(path: string, text: string): Promise<void>;
  makeDirectory(path: string): Promise<void>;
  remove(path: string): Promise<void>;
}
