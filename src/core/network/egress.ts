import type { EgressRule } from "../sandbox/index.ts";

/** What a pod's connections to others are limited to. */
export interface EgressRequest {
  readonly sandboxId: string;
  readonly netnsPath: string;
  readonly rules: readonly EgressRule[];
  /** The pod's resolv.conf, which names the servers of the rule "dns". */
  readonly resolvConf: string | undefined;
}

/** Limits where pods may open connections to. */
export interface EgressLimits {
  /**
   * Denies all connections that the pod opens, except to the destinations of the rules and within the pod.
   * Answers to connections of others are allowed. The limits end with the network namespace. On an error, an
   * unknown part of them is in force.
   *
   * `failed-precondition` when this node has no means to do it.
   */
  limit(request: EgressRequest, signal: AbortSignal): Promise<void>;
}
