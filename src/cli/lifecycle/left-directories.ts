// The directories of pods that the server removes itself (davit run -d --rm): it does not know them, so the next command
// that runs or prunes pods removes them.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { removeAfterAnnotation } from "../../client/pods/annotations.ts";
import { ownPodDirectory, type PodManifest } from "../../manifest/index.ts";
import type { Server } from "../server/session.ts";
import { lockPodDirectory, removePodDirectory } from "./volumes.ts";

/** In the directory of a pod that its server removes; its text is the address of the server. */
const markName = "removed-by";

/** Marks the directory of a pod whose server removes it. */
export async function markDirectory(
  { directory, sandbox }: PodManifest,
  { address }: Server["endpoint"],
): Promise<void> {
  if (sandbox.annotations[removeAfterAnnotation] === undefined) return;
  await writeFile(join(directory, markName), address);
}

/**
 * Removes the directories of pods that the server has removed, with their volumes and logs. Those of other servers, and
 * of pods that a davit run is running, stay.
 */
export async function removeLeftDirectories(server: Server, podsRoot: string): Promise<void> {
  for (const name of await readdir(podsRoot).catch(() => [])) {
    const directory = join(podsRoot, name);
    if ((await markOf(directory)) !== server.endpoint.address) continue;
    using lock = lockPodDirectory(directory);
    // Listed under the lock: no pod of this directory can be made meanwhile.
    if (lock !== undefined && !(await exists(server, podsRoot, directory))) {
      await removePodDirectory(directory);
    }
  }
}

async function markOf(directory: string): Promise<string | undefined> {
  return await readFile(join(directory, markName), "utf8").catch(() => undefined);
}

async function exists(server: Server, podsRoot: string, directory: string): Promise<boolean> {
  const { items } = await server.client.runtime.listPodSandbox({}, server.limit());
  return items.some(
    ({ metadata }) => metadata !== undefined && ownPodDirectory(podsRoot, metadata) === directory,
  );
}
