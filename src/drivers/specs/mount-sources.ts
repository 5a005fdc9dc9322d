import { mkdir, realpath } from "node:fs/promises";
import { RuntimeError, wrap } from "../../base/errors.ts";
import { beforeAbort } from "../../base/rollback.ts";
import type { ContainerConfig, Mount } from "../../gen/runtime/v1/api_pb.ts";
import { MountPropagation } from "../../gen/runtime/v1/api_pb.ts";
import { errnoCode, listMounts } from "../../linux/index.ts";
import { checkPropagation } from "../../spec/index.ts";

// A path that a client gave may lie on a server that does not answer.
const deadlineMs = 10_000;

/**
 * The host's side of each mount, in the order of the config: links followed, missing folders made
 * as the peers do. `unavailable` naming the path when the file system does not answer in 10 s.
 */
export async function mountSources(config: ContainerConfig): Promise<readonly string[]> {
  const sources: string[] = [];
  for (const mount of config.mounts) sources.push(await inTime(mount));
  return sources;
}

async function inTime(mount: Mount): Promise<string> {
  const deadline = AbortSignal.timeout(deadlineMs);
  try {
    return await beforeAbort(sourceOf(mount), deadline);
  } catch (error) {
    if (!deadline.aborted) throw wrap(`prepare mount of "${mount.hostPath}"`, error);
    throw new RuntimeError(
      "unavailable",
      `prepare mount of "${mount.hostPath}": its file system has not answered for ${String(deadlineMs / 1000)} s`,
    );
  }
}

async function sourceOf(mount: Mount): Promise<string> {
  const source = await existing(mount.hostPath);
  if (mount.propagation !== MountPropagation.PROPAGATION_PRIVATE) {
    const holding = await mountHolding(source);
    checkPropagation(mount, holding.mountPoint, holding.propagation);
  }
  return source;
}

async function existing(path: string): Promise<string> {
  try {
    return await realpath(path);
  } catch (error) {
    if (errnoCode(error) !== "ENOENT") throw error;
  }
  await mkdir(path, { recursive: true, mode: 0o755 });
  return realpath(path);
}

async function mountHolding(
  path: string,
): Promise<{ readonly mountPoint: string; readonly propagation: readonly string[] }> {
  const holds = (mountPoint: string): boolean =>
    mountPoint === "/" || path === mountPoint || path.startsWith(`${mountPoint}/`);
  let best: { readonly mountPoint: string; readonly propagation: readonly string[] } = {
    mountPoint: "/",
    propagation: [],
  };
  for (const entry of await listMounts()) {
    // Of mounts on one point the last is on top.
    if (holds(entry.mountPoint) && entry.mountPoint.length >= best.mountPoint.length) best = entry;
  }
  return best;
}
