import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Digest } from "../../base/digest.ts";
import type { ImageSource, ImageStore } from "../../core/image/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type { Layers } from "../../core/snapshot/index.ts";
import type { Janitor } from "../lifecycle/janitor.ts";
import type { ImageLimits } from "./limits.ts";
import type { PullProgress } from "./progress.ts";
import type { Pulls } from "./pulls.ts";

/** What the verbs of an image work with. Made once, in the composition root. */
export interface ImageContext {
  readonly store: ImageStore;
  readonly source: ImageSource;
  readonly layers: Layers;
  readonly pulls: Pulls;
  readonly progress: PullProgress;
  readonly limits: ImageLimits;
  /** Layers that are here count for every pull: for nodes of one tenant. */
  readonly trustPresentLayers: boolean;
  readonly operations: Operations;
  readonly janitor: Janitor;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  /** Layers that containers stand on, whatever became of their image. */
  readonly layersInUse: () => Iterable<Digest>;
}
