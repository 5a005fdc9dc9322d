// Memory that is given back as soon as it was written, instead of when it is next collected.

/** Less is not worth the call. */
const leastBytes = 16 * 1024;
const given = new WeakSet<ArrayBufferLike>();

/**
 * Says of a chunk that nobody uses it any more once it is written: whoever writes it last may free it.
 * For what was just read, and is passed on and forgotten.
 *
 * NOTE(v8): what lies outside of its heap counts for when it collects. A stream of chunks makes it mark
 * the whole heap every 32 MB, which costs as much as the stream itself.
 */
export function markTransferable(chunk: Uint8Array): void {
  if (chunk.byteLength >= leastBytes && isWhole(chunk)) given.add(chunk.buffer);
}

/**
 * Frees a chunk that was given away; others are left alone, and so are parts of one, as the rest of it
 * may still be used. A chunk that was freed has no bytes any more.
 */
export function releaseTransferred(chunk: Uint8Array): void {
  const { buffer } = chunk;
  if (!isWhole(chunk) || !given.delete(buffer) || !(buffer instanceof ArrayBuffer)) return;
  try {
    buffer.transfer(0);
  } catch {
    // NOTE(node): memory that it shares cannot be taken from it; it is collected as ever.
  }
}

function isWhole({ byteLength, buffer }: Uint8Array): boolean {
  return byteLength === buffer.byteLength;
}
