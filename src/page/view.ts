// What the server of `davit ui` sends to its page: types alone, so that the server and the browser share them
// without sharing code. All texts come from clients, images and containers: the page shows them as text only.

/** The state of the node and its server. Sizes in bytes, times in milliseconds since 1970. */
export interface NodeView {
  readonly host: string;
  readonly endpoint: string;
  readonly runtime: string;
  readonly version: string;
  /** The server is davit, which reports operations, pulls and histories. */
  readonly isDavit: boolean;
  readonly conditions: readonly ConditionView[];
  readonly upSinceMs: number | undefined;
  readonly cores: number;
  /** The share of all processors that was busy since the last sample, 0 to 1. */
  readonly cpuShare: number | undefined;
  readonly memoryTotal: number;
  readonly memoryUsed: number;
  /** The file system of the images. */
  readonly disk: DiskView | undefined;
  /** The page may stop and remove, and open shells. */
  readonly canWrite: boolean;
}

/** A condition of the CRI's Status. */
export interface ConditionView {
  readonly type: string;
  readonly ok: boolean;
  readonly reason: string;
}

/** A file system. */
export interface DiskView {
  readonly path: string;
  readonly total: number;
  readonly free: number;
  readonly images: number;
}

/** The last sample of a pod or container; undefined where the server does not report a value. */
export interface UsageView {
  /** 1 is one processor. */
  readonly cpu: number | undefined;
  readonly memory: number | undefined;
  readonly disk: number | undefined;
  /** Bytes per second, of pods only. */
  readonly rx: number | undefined;
  readonly tx: number | undefined;
}

/** A container. */
export interface ContainerView {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly state: "created" | "running" | "paused" | "exited" | "unknown";
  readonly attempt: number;
  readonly createdMs: number;
  readonly startedMs: number | undefined;
  readonly exit:
    | {
        readonly code: number;
        readonly reason: string;
        readonly message: string;
        readonly atMs: number;
      }
    | undefined;
  readonly memoryLimit: number | undefined;
  readonly usage: UsageView;
}

/** A pod with its containers, of which only the last attempt of each name counts. */
export interface PodView {
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly ready: boolean;
  readonly ip: string;
  readonly handler: string;
  readonly createdMs: number;
  readonly running: number;
  readonly all: number;
  /** A container has exited with an error. */
  readonly failed: boolean;
  readonly containers: readonly ContainerView[];
  readonly usage: UsageView;
}

/** What a phase of an operation works on, which gives its color. */
export type PhaseKind =
  | "record"
  | "cgroup"
  | "namespace"
  | "network"
  | "files"
  | "spec"
  | "process"
  | "pull"
  | "other";

/** A bar of a waterfall, in milliseconds from the start of its operation. */
export interface PhaseView {
  readonly name: string;
  readonly kind: PhaseKind;
  readonly fromMs: number;
  readonly toMs: number;
}

/** An operation, finished or in progress. */
export interface OperationView {
  /** As in the history of davit: "run-pod-sandbox". */
  readonly operation: string;
  /** The name of its container; "" for an operation on a pod. The image of a pull; the digest and the size of a layer. */
  readonly container: string;
  readonly startedMs: number;
  readonly tookMs: number;
  readonly running: boolean;
  readonly error: string | undefined;
  readonly phases: readonly PhaseView[];
}

/**
 * The operations that started a pod, or that started its containers again, with the pulls that were made for it; or a
 * pull with its layers that was for no pod of the timeline.
 */
export interface StartView {
  readonly key: string;
  readonly kind: "start" | "pull";
  /** "" for a pod that failed to be created. For a pull, the pod that it was for, if that is known. */
  readonly podId: string;
  readonly namespace: string;
  readonly name: string;
  /** The image of a pull; "" for a start. */
  readonly image: string;
  readonly startedMs: number;
  readonly tookMs: number;
  readonly state: "done" | "running" | "failed";
  /** Begins with the creation of the pod. */
  readonly isWhole: boolean;
  readonly operations: readonly OperationView[];
}

/** The starts and pulls of the last hour, newest first. */
export interface TimelineView {
  /** The server reports histories. */
  readonly supported: boolean;
  readonly starts: readonly StartView[];
}

/** An operation in progress, or one that has failed. */
export interface ActivityItem {
  readonly key: string;
  readonly operation: string;
  readonly subject: string;
  /** The id of the pod, if it exists. */
  readonly podId: string;
  readonly stage: string;
  readonly stageMs: number;
  readonly startedMs: number;
  readonly tookMs: number;
  readonly error: string | undefined;
}

/** A pull in progress. */
export interface PullView {
  readonly image: string;
  readonly fetched: number;
  readonly size: number;
  readonly layers: readonly { readonly state: string; readonly share: number }[];
}

/** What the server is doing, and what has failed. */
export interface ActivityView {
  readonly supported: boolean;
  readonly running: readonly ActivityItem[];
  readonly pulls: readonly PullView[];
  /** Newest first. */
  readonly failures: readonly ActivityItem[];
  /** Calls in progress for a second or longer. */
  readonly calls: readonly { readonly method: string; readonly ageMs: number }[];
}

/** An image. */
export interface ImageView {
  readonly id: string;
  readonly names: readonly string[];
  readonly size: number;
  readonly pinned: boolean;
  /** Each layer, with the number of images that have it. */
  readonly layers: readonly { readonly diffId: string; readonly images: number }[];
  /** Names of the containers that use it: NAMESPACE/POD/CONTAINER. */
  readonly usedBy: readonly string[];
}

/** The connection of the ui to the server. */
export interface LinkView {
  readonly ok: boolean;
  readonly message: string;
}

/** The parts of the live state. Each is sent whole when it has changed. */
export interface LiveState {
  readonly link: LinkView;
  readonly node: NodeView;
  readonly pods: readonly PodView[];
  readonly timeline: TimelineView;
  readonly activity: ActivityView;
  readonly images: readonly ImageView[];
}

/** A pod in detail, on request. */
export interface PodDetail {
  readonly id: string;
  readonly reason: string;
  /** The server reports histories. */
  readonly hasHistory: boolean;
  /** Oldest first. */
  readonly operations: readonly OperationView[];
  /** The verbose status of the pod and of its containers by name. */
  readonly spec: Json;
}

/** A value of JSON. */
export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

/** A line of a container's log. */
export interface LogLineView {
  readonly time: string;
  readonly stream: "stdout" | "stderr";
  readonly partial: boolean;
  readonly text: string;
}

/** What the page can ask for with --write. */
export type ActionName = "stop-pod" | "remove-pod" | "stop-container" | "remove-image";

/** The response to every request that fails. */
export interface Failure {
  readonly error: string;
}
