import { sep } from "node:path";
import type { ContainerContext } from "../container/context.ts";

/**
 * Removes what earlier daemons left of checkpoints: unfinished captures, and files of restored containers that are gone.
 * The latter are kept while the records of some objects cannot be read.
 */
export async function sweepCheckpoints(
  { checkpoints, store, log }: ContainerContext,
  setAside: ReadonlySet<string>,
): Promise<void> {
  const { files } = await checkpoints.open();
  // A restore has the id of its container, or of the sandbox of several ones.
  const used = new Set(
    [...store.all()].flatMap(({ restore }) => restore?.directory.split(sep) ?? []),
  );
  const has = (id: string): boolean => setAside.size > 0 || used.has(id);
  for (const line of await files.sweep({ has })) log.warn(`swept checkpoints: ${line}`);
}
