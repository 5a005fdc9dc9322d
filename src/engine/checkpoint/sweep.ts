import type { ContainerContext } from "../container/context.ts";

/**
 * Removes what earlier daemons left of checkpoints: unfinished captures, and files of restored containers that are gone.
 * Those of `setAside` are kept, whose records cannot be read.
 */
export async function sweepCheckpoints(
  { checkpoints, store, sandboxes, log }: ContainerContext,
  setAside: ReadonlySet<string>,
): Promise<void> {
  const { files } = await checkpoints.open();
  const has = (id: string): boolean =>
    setAside.has(id) || store.peek(id) !== undefined || sandboxes.peek(id) !== undefined;
  for (const line of await files.sweep({ has })) log.warn(`swept checkpoints: ${line}`);
}
