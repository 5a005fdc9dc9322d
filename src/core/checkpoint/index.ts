// Checkpoints: the saved state of running containers, and the port to their files. Imports base, core/container,
// gen, core/oci, core/operation, core/sandbox and core/store.
import type { Digest } from "../../base/digest.ts";
import type { Container } from "../container/index.ts";
import type { OciSpec } from "../oci/index.ts";
import type { Operation } from "../operation/index.ts";
import type { Sandbox } from "../sandbox/index.ts";
import type { KnownIds } from "../store/index.ts";
import type { CheckpointTrust } from "./trust.ts";

export type { CheckpointTrust } from "./trust.ts";
export type {
  Snapshot,
  SnapshotContainer,
  SnapshotDraft,
  Snapshots,
} from "./snapshots.ts";

export type { CheckpointOutputs } from "./outputs.ts";

/**
 * The directory of one container's checkpoint. What each file is:
 *
 * | name | content |
 * |---|---|
 * | `checkpoint/` | the images of memory and kernel state, by CRIU |
 * | `spec.dump`, `config.dump` | the OCI spec of the container, and what it was: read by checkpointctl and kubelet |
 * | `rootfs-diff.tar`, `deleted.files` | what the container changed in its root: files, and a JSON list of paths |
 * | `container.log` | a copy of its log |
 * | `stats-dump`, `dump.log` | CRIU's figures and its log |
 * | `davit.json` | size and SHA-256 of each of the other files, and a code by which the node knows its own |
 */
export const checkpointFiles = {
  images: "checkpoint",
  spec: "spec.dump",
  config: "config.dump",
  changes: "rootfs-diff.tar",
  deleted: "deleted.files",
  log: "container.log",
  statistics: "stats-dump",
  criuLog: "dump.log",
  manifest: "davit.json",
} as const;

/** The directory of a pod's checkpoint: its manifest, and a directory for each of its containers by its name. */
export const podCheckpointFiles = { manifest: "pod.json", containers: "containers" } as const;

/** A container whose memory has been captured, while its processes are frozen or ended. */
export interface CapturedContainer {
  readonly container: Container;
  readonly sandbox: Sandbox;
  /** The spec that it was started with. */
  readonly spec: OciSpec;
  /** Path or name of the OCI runtime. */
  readonly runtimePath: string;
  /** The layer of changes that its root has above those of its image, if it was itself restored with one. */
  readonly earlierChanges?: Digest | undefined;
}

/**
 * What a checkpoint says of its container. For checks and for people: a restore takes names, image, mounts, limits
 * and security from its request.
 */
export interface CheckpointFacts {
  /** The name of the container in its pod. */
  readonly name: string;
  readonly containerId: string;
  /** Name and namespace of its pod; empty if the checkpoint is from elsewhere and does not say. */
  readonly podName: string;
  readonly podNamespace: string;
  /** The name by which the image was requested, and its digests; empty where not known. */
  readonly imageName: string;
  readonly imageDigests: readonly string[];
  /** The name of the OCI runtime: none can restore the images of another. */
  readonly runtime: string;
  readonly terminal: boolean;
  /** The hostname of the pod when it was captured. */
  readonly hostname: string;
  /** Nanoseconds since 1970. */
  readonly capturedAtNs: bigint;
  /** The client's ContainerConfig, as protobuf; only in checkpoints that this node made. */
  readonly config: Uint8Array | undefined;
  /** The same, for the PodSandboxConfig of its pod. */
  readonly podConfig: Uint8Array | undefined;
  /** The name of the pod's handler; empty for the default one, and where not known. */
  readonly runtimeHandler: string;
}

/** A checkpoint that was read and checked, in files that nobody else can change. */
export interface OpenedCheckpoint {
  readonly facts: CheckpointFacts;
  /** A directory as above. */
  readonly directory: string;
  /**
   * The layer of `rootfs-diff.tar` and `deleted.files`, which no image has claimed; undefined if nothing was changed.
   * `Layers.complete` comes before a root on the layers of the image and this one.
   */
  readonly changes: Digest | undefined;
  /** False for a snapshot, whose directory several restores share. */
  readonly owned: boolean;
}

/** A pod's checkpoint that was read and checked. */
export interface OpenedPodCheckpoint {
  /** The client's PodSandboxConfig, as protobuf; only in checkpoints that this node made. */
  readonly config: Uint8Array | undefined;
  readonly containers: readonly OpenedCheckpoint[];
}

/** How a checkpoint is opened. */
export interface OpenOptions {
  readonly trust: CheckpointTrust;
  /**
   * Called with each layer of changes before it is looked for or made: from then on the caller keeps it, since no record
   * names it yet.
   */
  readonly hold: (layer: Digest) => void;
}

/** The files of checkpoints. What is read is hostile until it was checked: links, devices, sizes, digests. */
export interface Checkpoints {
  /**
   * Makes a new empty directory (mode 0700) for one capture, with an empty `checkpoint/`: below `parent`, which is made if
   * it does not exist, or of this node's own. The caller discards it. `permission-denied` for a parent that others than
   * root can change.
   */
  begin(name: string, parent?: string): Promise<string>;
  /**
   * Completes a directory in which the memory was captured: spec, config, changes of the root, log. The container must
   * not run meanwhile. The manifest follows in archive() or completePod(), which read all of the memory again, and which
   * the container need not wait for.
   */
  complete(directory: string, captured: CapturedContainer, operation: Operation): Promise<void>;
  /**
   * Completes the directory of a pod's checkpoint, after the directories of its containers: those that begin() made below
   * its `containers`, by their names. Everything is on the disk then.
   */
  completePod(
    directory: string,
    sandbox: Sandbox,
    containers: readonly string[],
    operation: Operation,
  ): Promise<void>;
  /**
   * Writes a directory, of a container or of a pod, as one archive (tar) with mode 0600, which is on the disk then.
   * `already-exists` if there is such a file. A failure leaves no file.
   */
  archive(directory: string, location: string, signal: AbortSignal): Promise<void>;
  /** Removes a directory. Idempotent. */
  discard(directory: string): Promise<void>;
  /**
   * Opens an archive of one container (tar, also compressed by gzip or zstd) for the restore of `containerId`.
   * `permission-denied` for one that this node did not make where only such are trusted, `invalid-argument` for what
   * is not a checkpoint, `data-loss` for one that was changed.
   */
  openArchive(
    location: string,
    restore: OpenOptions & { readonly containerId: string },
    operation: Operation,
  ): Promise<OpenedCheckpoint>;
  /** As openArchive(), for an archive that `chunks` are. `name` is what errors call it. */
  openStream(
    archive: { readonly name: string; readonly chunks: AsyncIterable<Uint8Array> },
    restore: OpenOptions & { readonly containerId: string },
    operation: Operation,
  ): Promise<OpenedCheckpoint>;
  /** Opens the directory of a pod's checkpoint, which is not changed. Errors as openArchive(). */
  openPod(
    directory: string,
    restore: OpenOptions & { readonly restoreId: string },
    operation: Operation,
  ): Promise<OpenedPodCheckpoint>;
  /**
   * Removes what earlier daemons left: captures, half-written archives, and restores whose id (of the container, or the
   * one for a pod) is not `known`. A line for each.
   */
  sweep(known: KnownIds): Promise<readonly string[]>;
}
