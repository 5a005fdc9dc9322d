import type { ContainerStore } from "../../core/container/index.ts";
import type { SandboxStore } from "../../core/sandbox/index.ts";
import type { StatsReader } from "../../core/stats/index.ts";

/** What the verbs of stats work with. */
export interface StatsContext {
  readonly sandboxes: { readonly store: SandboxStore };
  readonly containers: { readonly store: ContainerStore };
  readonly stats: StatsReader;
}
