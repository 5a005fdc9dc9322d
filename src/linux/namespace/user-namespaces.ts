import { readFileSync } from "node:fs";

import { kernelRelease } from "../host/host.ts";
import { errnoCode } from "../../base/system-error.ts";

type Version = readonly [major: number, minor: number];

// overlayfs accepts id-mapped layers since this version.
const oldestKernel: Version = [5, 19];
// tmpfs has ID-mapped mounts since this version: kubelet has tokens, Secrets and some emptyDirs there.
const oldestForTmpfs: Version = [6, 3];

/** Why pods on this node cannot have user namespaces of their own; undefined when they can. */
export function userNamespaceObstacle(): string | undefined {
  if (isOlder(kernelRelease(), oldestKernel)) {
    return `Linux ${kernelRelease()} cannot map the ids of an image's layers; it needs ${oldestKernel.join(".")} or later`;
  }
  try {
    const limit = readFileSync("/proc/sys/user/max_user_namespaces", "utf8");
    return Number(limit) > 0 ? undefined : "user.max_user_namespaces is 0 on this node";
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return "this node's kernel has no user namespaces";
    throw cause;
  }
}

/**
 * Why containers in a user namespace could not use the tmpfs volumes of kubelet, such as the token of its service
 * account, which nearly every pod has; undefined when they can.
 */
export function tmpfsVolumeObstacle(release: string = kernelRelease()): string | undefined {
  if (!isOlder(release, oldestForTmpfs)) return undefined;
  return `Linux ${release} cannot map the ids of a tmpfs, where kubelet has tokens and Secrets; it needs ${oldestForTmpfs.join(".")} or later`;
}

function isOlder(release: string, [major, minor]: Version): boolean {
  const [ownMajor = 0, ownMinor = 0] = release.split(/[.-]/).map(Number);
  return ownMajor < major || (ownMajor === major && ownMinor < minor);
}
