import type { ContainerStore } from "../../core/container/index.ts";
import type { SandboxStore } from "../../core/sandbox/index.ts";
import type { StatsReader } from "../../core/stats/index.ts";

/** The dependencies of the stats verbs. */
export interface StatsContext {
  readonly sandboxes: { readonly store: SandboxStore };
  readonly containers: { readonly store: ContainerStore };
  readonly stats: StatsReader;
}
