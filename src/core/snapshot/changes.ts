import type { Digest } from "../../base/digest.ts";
import type { OciIdMapping } from "../oci/index.ts";

/** A container whose changes are written. */
export interface ChangesRequest {
  readonly containerId: string;
  /** The layers of its image, lowest first. */
  readonly layers: readonly Digest[];
  /** A layer of earlier changes that its root has above them, as of a container that was restored: it is written as well. */
  readonly earlier?: Digest | undefined;
  /** The ids of its user namespace, which the owners of the files are written in; none for those of the node. */
  readonly uids?: readonly OciIdMapping[];
  readonly gids?: readonly OciIdMapping[];
}

/** The open files that changes are written to. */
export interface ChangedFiles {
  /** For an archive (tar) of files that are new or different. */
  readonly archive: number;
  /** For a JSON list of the paths that are gone, which begin with `/`. Those that are not UTF-8 are whiteouts of the archive. */
  readonly deleted: number;
  /** The largest archive. Bytes. */
  readonly maxBytes: number;
}

/** What containers changed in their roots. */
export interface ContainerChanges {
  /**
   * Writes what a container changed in its writable layer, whose root is mounted. Sockets are left out. The container
   * must not run meanwhile. `resource-exhausted` beyond the size; the files then have incomplete content.
   */
  write(request: ChangesRequest, to: ChangedFiles, signal: AbortSignal): Promise<void>;
}
