import { readFileSync } from "node:fs";

import { kernelRelease } from "../host/host.ts";
import { errnoCode } from "../../base/system-error.ts";

// overlayfs accepts id-mapped layers since this version.
const oldestKernel = [5, 19] as const;

/** Why pods on this node cannot have user namespaces of their own; undefined when they can. */
export function userNamespaceObstacle(): string | undefined {
  const [major = 0, minor = 0] = kernelRelease().split(/[.-]/).map(Number);
  if (major < oldestKernel[0] || (major === oldestKernel[0] && minor < oldestKernel[1])) {
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
