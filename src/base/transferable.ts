// Memory that is freed as soon as it was written, not at the next garbage collection.

/** Smaller chunks are not worth the call. */
const minBytes = 16 * 1024;
const transferable = new WeakSet<ArrayBufferLike>();

/**
 * Marks a chunk that is not used any more after it is written: the last writer may free it.
 * For a chunk that was just read and is only passed on.
 *
 * NOTE(v8): memory outside of the heap counts towards the next garbage collection. A stream of chunks makes V8 mark
 * the whole heap every 32 MB, which costs as much as the stream itself.
 */
export function markTransferable(chunk: Uint8Array): void {
  if (chunk.byteLength >= minBytes && isWhole(chunk)) transferable.add(chunk.buffer);
}

/**
 * Frees a chunk that is marked as transferable. Other chunks are not changed, nor are parts of one, because the rest
 * may still be used. A freed chunk has no bytes any more.
 */
export function releaseTransferred(chunk: Uint8Array): void {
  const { buffer } = chunk;
  if (!isWhole(chunk) || !transferable.delete(buffer) || !(buffer instanceof ArrayBuffer)) return;
  try {
    buffer.transfer(0);
  } catch {
    // NOTE(node): memory that Node.js shares cannot be transferred; the garbage collector frees it.
  }
}

function isWhole({ byteLength, buffer }: Uint8Array): boolean {
  return byteLength === buffer.byteLength;
}
