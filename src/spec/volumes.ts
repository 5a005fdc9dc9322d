import { posix } from "node:path";
import { RuntimeError } from "../base/errors.ts";
import type { ImageConfig } from "../core/image/index.ts";
import type { ContainerConfig } from "../gen/runtime/v1/api_pb.ts";
import { mountDestination } from "./mounts.ts";

/**
 * Where a container gets a folder of its own because its image declares a volume there (image-spec,
 * config.md, Volumes): each path once, sorted, without those where the request mounts something.
 * `failed-precondition` for one that is the root itself.
 */
export function declaredVolumes(
  image: Pick<ImageConfig, "volumes">,
  config: Pick<ContainerConfig, "mounts">,
): readonly string[] {
  const taken = new Set(config.mounts.map(mountDestination));
  // A path that is not absolute counts from the root, as the peers take it.
  const paths = image.volumes.map((path) =>
    mountDestination({ containerPath: posix.join("/", path) }),
  );
  if (paths.includes("/")) {
    throw new RuntimeError(
      "failed-precondition",
      'make volumes of the image: it declares its whole root, "/", as a volume; set images.volumes to "ignore", or mend the image',
    );
  }
  return [...new Set(paths)].filter((path) => !taken.has(path)).toSorted();
}
