import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Digest } from "../../base/digest.ts";
import type { ImageSource, ImageStore, PullObserver } from "../../core/image/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type { Layers } from "../../core/snapshot/index.ts";
import type { Janitor } from "../lifecycle/janitor.ts";
import type { ImageLimits } from "./limits.ts";
import type { PullProgress } from "./progress.ts";
import type { Pulls } from "./pulls.ts";

/** The dependencies of the image verbs. The composition root creates it once. */
export interface ImageContext {
  readonly store: ImageStore;
  readonly source: ImageSource;
  readonly layers: Layers;
  readonly pulls: Pulls;
  readonly progress: PullProgress;
  readonly observer: PullObserver;
  readonly limits: ImageLimits;
  /** True when every pull may use the layers that are present, for nodes with one tenant. */
  readonly trustPresentLayers: boolean;
  readonly operations: Operations;
  readonly janitor: Janitor;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  /** The layers that containers use, including those whose image was removed. */
  readonly layersInUse: () => Iterable<Digest>;
}
