import { join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";

/**
 * The paths of checkpoints, all below a directory that only root can enter:
 *
 *   key                         the key of the node's codes (seal.ts)
 *   captures/<name>-<uuid>/     a capture while it is made
 *   partial/<uuid>              the path of an archive while it is written
 *   restores/<id>/              what a container, or the containers of a pod below it, are restored from
 *   snapshots/<id>/             checkpoints of pods that the node keeps
 */
export class CheckpointLayout {
  readonly root: string;
  readonly key: string;
  readonly captures: string;
  readonly partial: string;
  readonly restores: string;
  readonly snapshots: string;

  constructor(root: string) {
    this.root = root;
    this.key = join(root, "key");
    this.captures = join(root, "captures");
    this.partial = join(root, "partial");
    this.restores = join(root, "restores");
    this.snapshots = join(root, "snapshots");
  }

  /** The directory of a restore. `invalid-argument` for an id that is not a plain name. */
  restore(id: string): string {
    if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$/.test(id)) return join(this.restores, id);
    throw new RuntimeError("invalid-argument", `restore checkpoint for ${quote(id)}: invalid id`);
  }
}
