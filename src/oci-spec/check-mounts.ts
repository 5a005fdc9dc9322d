import type { ContainerConfig, Mount } from "../gen/runtime/v1/api_pb.ts";
import { MountPropagation } from "../gen/runtime/v1/api_pb.ts";
import { replaceableProcFiles } from "./kernel-paths.ts";
import { mountDestination } from "./mounts.ts";
import { checkMountOptions } from "./mount-options.ts";
import { enumName, quoted, refuse } from "./refuse.ts";

/** Refuses mounts that cannot be meant (api.proto, Mount). `invalid-argument`. */
export function checkMounts(config: ContainerConfig): void {
  for (const mount of config.mounts) {
    checkContainerPath(mount);
    if (mount.image === undefined) checkHostPath(mount);
    else checkImageMount(mount);
    checkAccess(mount);
    checkMountOptions(mount);
  }
}

function checkContainerPath(mount: Mount): void {
  const path = mount.containerPath;
  if (path === "") refuse(`mounts: container_path is empty (host_path ${quoted(mount.hostPath)})`);
  if (!path.startsWith("/") || path.includes("\0")) {
    refuse(`mounts: container_path must be absolute, got ${quoted(path)}`);
  }
  const destination = mountDestination(mount);
  if (destination === "/") refuse("mounts: container_path cannot be the root itself");
  if (destination.startsWith("/proc/") && !replaceableProcFiles.has(destination)) {
    const files = [...replaceableProcFiles].join(", ");
    refuse(
      `mounts: container_path ${quoted(path)} is in the kernel's /proc, where only these can be replaced: ${files}`,
    );
  }
  if (mount.image !== undefined && ["/proc", "/dev"].includes(destination)) {
    refuse(
      `mounts: an image cannot be mounted at ${quoted(path)}, the kernel's file system is there`,
    );
  }
}

/**
 * NOTE(kubelet): its image_sub_path is ignored. In a container with an image volume, kubelet 1.36 sets that field also for
 * the other volumes with a subPath, and their host_path has the subPath already.
 */
function checkHostPath(mount: Mount): void {
  if (mount.hostPath === "") {
    refuse(`mounts: host_path of ${quoted(mount.containerPath)} is empty, and it has no image`);
  }
  if (!mount.hostPath.startsWith("/") || mount.hostPath.includes("\0")) {
    refuse(`mounts: host_path must be absolute, got ${quoted(mount.hostPath)}`);
  }
}

function checkImageMount(mount: Mount): void {
  const path = quoted(mount.containerPath);
  if (mount.hostPath !== "") refuse(`mounts: ${path} has an image and a host_path`);
  if (mount.image?.image === "") refuse(`mounts: the image of ${path} is empty`);
  if (!mount.readonly) refuse(`mounts: ${path} is of an image and must be readonly`);
  const parts = mount.imageSubPath.split("/");
  if (parts[0] === "" && parts.length > 1) {
    refuse(`mounts: image_sub_path must be relative, got ${quoted(mount.imageSubPath)}`);
  }
  if (parts.includes("..") || mount.imageSubPath.includes("\0")) {
    refuse(`mounts: image_sub_path must stay in its image, got ${quoted(mount.imageSubPath)}`);
  }
}

function checkAccess(mount: Mount): void {
  const path = quoted(mount.containerPath);
  if (!Object.values<number>(MountPropagation).includes(mount.propagation)) {
    refuse(`mounts: propagation of ${path} is ${mount.propagation}, which is unknown`);
  }
  if (!mount.recursiveReadOnly) return;
  if (!mount.readonly) refuse(`mounts: ${path} is recursive_read_only but not readonly`);
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
    refuse(
      `mounts: ${path} is recursive_read_only and so needs private propagation, not ${enumName(MountPropagation, mount.propagation)}`,
    );
  }
}
