import type { Paused, PauseOptions } from "./api/container.ts";
import type { Connection } from "./connection.ts";

/** How long pausing and resuming may take. Milliseconds. */
const answerMs = 30_000;
/** Writing memory to swap waits for the disk. */
const reclaimMs = 120_000;

/** A container or a pod. */
interface PauseTarget {
  readonly connection: Connection;
  readonly id: string;
  /** For messages: `pod "default/web"`. */
  readonly shown: string;
}

/** Pauses a container, or the running containers of a pod. */
export async function pause(
  { connection, id, shown }: PauseTarget,
  { reclaimMemory = false, signal }: PauseOptions = {},
): Promise<Paused> {
  const options = connection.quick(signal, reclaimMemory ? reclaimMs : answerMs);
  const call = connection.client.checkpoints.pause({ id, reclaimMemory }, options);
  const { reclaimedBytes } = await connection.davitOnly(`pause ${shown}`, call, signal);
  return { reclaimedBytes: Number(reclaimedBytes) };
}

/** Lets them run on. */
export async function resume(
  { connection, id, shown }: PauseTarget,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<void> {
  const call = connection.client.checkpoints.resume({ id }, connection.quick(signal, answerMs));
  await connection.davitOnly(`resume ${shown}`, call, signal);
}
