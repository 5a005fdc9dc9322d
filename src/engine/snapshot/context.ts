import type { CheckpointTrust, Snapshots } from "../../core/checkpoint/index.ts";
import type { ContainerStore } from "../../core/container/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type { SandboxStore } from "../../core/sandbox/index.ts";
import type { Logger } from "../../base/logger.ts";

/** Containers of a pod that are captured together, into an empty directory. */
export interface PodCapture {
  readonly sandboxId: string;
  readonly containerIds: readonly string[];
  readonly directory: string;
  /** As in CaptureRequest. */
  readonly closeTcp: boolean;
}

/** The dependencies of the verbs of snapshots. The composition root creates it once. */
export interface SnapshotContext {
  readonly snapshots: Snapshots;
  readonly sandboxes: Pick<SandboxStore, "resolve">;
  readonly containers: Pick<ContainerStore, "all" | "listedOf">;
  /** Makes a checkpoint of a pod: engine/checkpoint. A failure leaves the directory empty. */
  readonly capture: (request: PodCapture, signal: AbortSignal) => Promise<void>;
  /** Which snapshots are imported; "off" for none. */
  readonly trust: CheckpointTrust | "off";
  readonly operations: Operations;
  readonly log: Logger;
}
