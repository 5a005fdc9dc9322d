import type { Network, RunOptions } from "./options.ts";

/** Options of `snapshot`. */
export interface SnapshotOptions {
  /** Capture a pod with open TCP connections too; they are closed in the pods that are restored. */
  readonly closeTcp?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * The saved state of a pod: the memory of its processes and the changed files of its containers, on the disk of the
 * server. It stays when the program ends, with all that the processes had in memory, passwords included: `await using`
 * removes it.
 */
export interface Snapshot extends AsyncDisposable {
  readonly id: string;
  /** The pod's name and namespace. */
  readonly podName: string;
  readonly podNamespace: string;
  readonly takenAt: Date;
  /** Bytes on the disk. */
  readonly sizeBytes: number;
  /** The names and images of its containers. */
  readonly containers: readonly { readonly name: string; readonly image: string }[];
  /** The snapshot as an archive, for `importSnapshot`. */
  export(options?: { readonly signal?: AbortSignal }): AsyncIterable<Uint8Array>;
  /** Removes it. Pods that were restored from it run on. Does nothing for one that was removed. */
  remove(): Promise<void>;
}

/** Options of `restore`: what is not given is as in the snapshot. */
export interface RestoreOptions
  extends Pick<
    RunOptions,
    | "name"
    | "namespace"
    | "labels"
    | "annotations"
    | "ready"
    | "readyTimeoutMs"
    | "timeoutMs"
    | "onDisconnect"
    | "signal"
  > {
  /** The network of the pod, as in `RunOptions`. A pod cannot change from or to the network of the host. */
  readonly network?: Exclude<Network, "host">;
  /** `keep` publishes the ports of the host that the snapshot's pod had; `none` if not given. */
  readonly ports?: "keep" | "none";
}
