import type { Rollback } from "../../base/rollback.ts";
import type { ContainerStatus } from "../../gen/runtime/v1/api_pb.ts";
import type { NodeInfo, PodManifest } from "../../manifest/index.ts";
import type { CallOptions, CriClient } from "../cri-client.ts";

/** A server on which pods run, as the program that runs them sees it. */
export interface PodServer {
  readonly client: Pick<CriClient, "runtime" | "image">;
  /** Options for a call with a timeout of `ms`, by default that of quick calls. */
  readonly limit: (ms?: number) => CallOptions;
  /** Options for a call that takes as long as it needs. */
  readonly unlimited: () => CallOptions;
  /** Waits for a call, and adds to its error what was being done. */
  readonly doing: <T>(what: string, call: Promise<T>) => Promise<T>;
}

/** What the pods of a program share: each image is pulled only once. */
export interface PodRunContext {
  readonly server: PodServer;
  readonly node: Pick<NodeInfo, "nodeName" | "memoryBytes">;
  /** The ids of images by pull policy and name. */
  readonly pulls: Map<string, Promise<string>>;
  /** Cancels the run. */
  readonly signal: AbortSignal;
  /** Creates the pod's volumes (`makeVolumes`), with their cleanup. */
  readonly makeVolumes: (pod: PodManifest, undo: Rollback) => Promise<void>;
  /** The end of a container's log; empty if it cannot be read. */
  readonly lastLines: (container: ContainerStatus) => Promise<readonly string[]>;
}

/** A running pod. */
export interface RunningPod {
  readonly manifest: PodManifest;
  readonly id: string;
  readonly ips: readonly string[];
  /** The ids of its containers by name. */
  readonly containers: ReadonlyMap<string, string>;
}

/** Receives the progress of running a pod. */
export interface ProgressReport {
  /** A step begins: "pulling busybox". `image` is the image that is being pulled, if any. */
  readonly step: (text: string, image?: string) => void;
  /** A warning. */
  readonly warn: (text: string) => void;
  /** A message that replaces steps where these are not shown. */
  readonly note?: (text: string) => void;
  /** How a person can end a wait, which the messages of waits say. */
  readonly howToLeave?: string;
}
