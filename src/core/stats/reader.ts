import type { Container } from "../container/index.ts";
import type { Sandbox } from "../sandbox/index.ts";
import type { Figures } from "./figures.ts";
import type { ContainerStats, PodStats, ReportedUsage } from "./stats.ts";

/**
 * Measures sandboxes whose usage the host's cgroups do not show completely, for example those that are
 * virtual machines.
 */
export interface SandboxMeter {
  /** Undefined for a sandbox without such a report. Rejects without an answer in time. */
  usage(sandbox: Sandbox): Promise<ReportedUsage | undefined>;
}

/** Measures the resource usage of containers and pods. Samples are at most 1 s old and have their own time. */
export interface StatsReader {
  /**
   * Stats by id. Those that the kernel or the disk does not return in time are missing, and the others do
   * not wait for them. A container that is not running is present, without `resources`.
   */
  containers(containers: readonly Container[]): Promise<ReadonlyMap<string, ContainerStats>>;
  /** The same for pods, without their containers. */
  pods(sandboxes: readonly Sandbox[]): Promise<ReadonlyMap<string, PodStats>>;
  /** More figures of pods and of running containers, at most 5 s old, with the same rules. */
  figures(sandboxes: readonly Sandbox[], running: readonly Container[]): Promise<Figures>;
}
