import type { BlobChunk } from "../../base/unread-bytes.ts";
import { beforeAbort } from "../../base/wait.ts";

/** Chunks whose first one has arrived, for one reader. */
interface BegunChunks extends AsyncIterable<BlobChunk>, Disposable {}

/**
 * Waits for the first chunk, and returns it with all that follow. Disposing of the result closes the
 * source without waiting, since a source that hangs does not answer that either. Rejects with the
 * source's failure or the signal's reason.
 */
export async function begin(
  chunks: AsyncIterable<BlobChunk>,
  signal: AbortSignal,
): Promise<BegunChunks> {
  const source = chunks[Symbol.asyncIterator]();
  const leave = (): void => {
    source.return?.().catch(() => undefined);
  };
  let first: Promise<IteratorResult<BlobChunk>> | undefined;
  try {
    first = Promise.resolve(await beforeAbort(source.next(), signal));
  } catch (error) {
    leave();
    throw error;
  }
  const iterator: AsyncIterator<BlobChunk> = {
    next: () => {
      const next = first ?? source.next();
      first = undefined;
      return next;
    },
    return: () => {
      leave();
      return Promise.resolve({ done: true, value: undefined });
    },
  };
  return { [Symbol.asyncIterator]: () => iterator, [Symbol.dispose]: leave };
}
