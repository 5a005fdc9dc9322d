import type { Logger } from "../../base/logger.ts";
import type { TaskGroup } from "../../base/task-group.ts";
import type { Clock } from "../../base/time.ts";
import type { Digest } from "../../base/digest.ts";
import type {
  ImageArchives,
  ImageSource,
  ImageStore,
  LayerDecryption,
  PullObserver,
} from "../../core/image/index.ts";
import type { Operations } from "../../core/operation/index.ts";
import type { LayerChecker, LayerPacker, Layers } from "../../core/snapshot/index.ts";
import type { NodeEvent } from "../events/node-event.ts";
import type { Janitor } from "../lifecycle/janitor.ts";
import type { Collected } from "./collected.ts";
import type { ImageLimits } from "./limits.ts";
import type { PullProgress } from "./progress.ts";
import type { Pulls } from "./pulls.ts";
import type { ImageVerification } from "./verification.ts";

/** The dependencies of the image verbs. The composition root creates it once. */
export interface ImageContext {
  readonly store: ImageStore;
  readonly source: ImageSource;
  readonly archives: ImageArchives;
  readonly layers: Layers;
  readonly packer: LayerPacker;
  readonly checker: LayerChecker;
  readonly pulls: Pulls;
  readonly progress: PullProgress;
  readonly observer: PullObserver;
  readonly limits: ImageLimits;
  /** Layers of one image that are fetched at once. */
  readonly maxDownloads: number;
  /** True when every pull may use the layers that are present, for nodes with one tenant. */
  readonly trustPresentLayers: boolean;
  /** Undefined where no policy says which images may be used. */
  readonly verification?: ImageVerification | undefined;
  /** Undefined where this node has no keys for encrypted layers. */
  readonly decryption?: LayerDecryption | undefined;
  readonly operations: Operations;
  readonly janitor: Janitor;
  readonly tasks: TaskGroup;
  readonly clock: Clock;
  readonly log: Logger;
  /**
   * The layers that containers use, including those whose image was removed: of each image and image volume a
   * chain, lowest first.
   */
  readonly chainsInUse: () => Iterable<readonly Digest[]>;
  /** Ids and digests of images that snapshots need: a restore pulls none. */
  readonly neededBySnapshots: () => ReadonlySet<string>;
  /** True while the record of an image or a container is set aside: what that one uses is unknown. */
  readonly isUseUnknown: () => boolean;
  /** Resolves when the records that were written before are on the disk. Rejects if a sync fails. */
  readonly recordsSynced: () => Promise<void>;
  /** How long the complete layers of an unfinished pull are kept for the next one. Milliseconds. */
  readonly keepLayersMs: number;
  /** Notes that a client has pulled an image, asked for it by name or created a container with it. */
  readonly onUsed: (image: Digest) => void;
  /** Told when an image was pulled or removed. */
  readonly onEvent: (event: NodeEvent) => void;
  /** Counts what was removed because nobody used it. */
  readonly collected: Collected;
}
