import { posix } from "node:path";
import { RuntimeError } from "../base/errors.ts";
import type { ImageConfig } from "../core/image/index.ts";
import type { ContainerConfig } from "../gen/runtime/v1/api_pb.ts";
import { isKernelPath } from "./kernel-paths.ts";
import { mountDestination } from "./mounts.ts";

/** The volumes that an image declares. */
export interface DeclaredVolumes {
  /** Paths where a container gets its own directory. */
  readonly paths: readonly string[];
  /** Paths where it gets none, since they are in the kernel's file systems. */
  readonly skipped: readonly string[];
}

/**
 * Paths where a container gets its own directory because its image declares a volume (image-spec,
 * config.md, Volumes): each path once, sorted, without those where the request mounts something.
 * `failed-precondition` for one that is the root itself.
 *
 * A volume would hide /proc, /sys or /dev, or a part of them, from the container and from the OCI
 * runtime, which sets the container up through them: such paths are skipped.
 */
export function declaredVolumes(
  image: Pick<ImageConfig, "volumes">,
  config: Pick<ContainerConfig, "mounts">,
): DeclaredVolumes {
  const taken = new Set(config.mounts.map(mountDestination));
  // A path that is not absolute is relative to the root, as in containerd and CRI-O.
  const paths = image.volumes.map((path) =>
    mountDestination({ containerPath: posix.join("/", path) }),
  );
  if (paths.includes("/")) {
    throw new RuntimeError(
      "failed-precondition",
      'make volumes of the image: it declares its whole root, "/", as a volume; set images.volumes to "ignore", or fix the image',
    );
  }
  const wanted = [...new Set(paths)].filter((path) => !taken.has(path)).toSorted();
  const { own = [], kernel = [] } = Object.groupBy(wanted, (path) =>
    isKernelPath(path) ? "kernel" : "own",
  );
  return { paths: own, skipped: kernel };
}
