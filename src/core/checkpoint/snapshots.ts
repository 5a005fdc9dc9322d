import type { ContainerConfig, PodSandboxConfig } from "../../gen/runtime/v1/api_pb.ts";
import type { Operation } from "../operation/index.ts";
import type { CheckpointTrust } from "./trust.ts";

/** A container in a snapshot. */
export interface SnapshotContainer {
  readonly name: string;
  /** The name by which its image was requested. */
  readonly image: string;
  /** The id and digests of its image: a restore needs that on the node. */
  readonly imageDigests: readonly string[];
  /** With which the client created it. */
  readonly config: ContainerConfig;
}

/** A pod's checkpoint that the node keeps under an id. Immutable. */
export interface Snapshot {
  readonly id: string;
  readonly podName: string;
  readonly podNamespace: string;
  /** The name of the pod's handler; empty for the default one. */
  readonly runtimeHandler: string;
  /** Nanoseconds since 1970. */
  readonly takenAtNs: bigint;
  /** With which the client ran the pod. */
  readonly config: PodSandboxConfig;
  readonly containers: readonly SnapshotContainer[];
  /** Bytes on the disk. */
  readonly sizeBytes: bigint;
  /** The directory of the pod's checkpoint; see Checkpoints.openPod. */
  readonly directory: string;
}

/** A snapshot that is being made. Disposing of it removes what was not published. */
export interface SnapshotDraft extends AsyncDisposable {
  /** An empty directory (mode 0700), which is not listed. */
  readonly directory: string;
  /** Keeps the pod's checkpoint in the directory: it is complete on the disk and listed, or does not exist. */
  publish(): Promise<Snapshot>;
}

/** The snapshots of the node, in a directory that only root can enter. */
export interface Snapshots {
  /**
   * Digests of images that snapshots need, by the last list(): a restore pulls nothing, so the images are kept from
   * garbage collection.
   */
  readonly imageDigests: ReadonlySet<string>;
  /** All snapshots, the newest first. One that cannot be read is logged and left out. */
  list(): Promise<readonly Snapshot[]>;
  begin(): Promise<SnapshotDraft>;
  /** Removes a snapshot by its whole id. Idempotent. */
  remove(id: string): Promise<void>;
  /** The files of a snapshot as an archive (tar). */
  export(id: string, signal: AbortSignal): AsyncIterable<Uint8Array>;
  /**
   * Keeps a snapshot that was exported, under a new id. Errors as Checkpoints.openPod, and `resource-exhausted` for
   * one that is too large.
   */
  import(
    chunks: AsyncIterable<Uint8Array>,
    trust: CheckpointTrust,
    operation: Operation,
  ): Promise<Snapshot>;
  /** Removes what earlier daemons did not finish, and loads the digests of images. A line for each removal. */
  sweep(): Promise<readonly string[]>;
}
