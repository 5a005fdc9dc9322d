import type { Pod } from "./pod.ts";

/** Pods that continue from the same moment. `await using` removes all of them. */
export interface Fork extends AsyncDisposable {
  readonly pods: readonly Pod[];
}
