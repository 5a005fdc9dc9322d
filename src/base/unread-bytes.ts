// Bytes of a blob that this process passes on without reading them.

/** A pipe of another process, whose descriptor does not block. */
export interface PipeInput {
  /** Throws once it is closed. */
  readonly fd: number;
  /** Resolves when the pipe has room, nobody reads it any more, or it is closed. */
  writable(): Promise<void>;
}

/** Bytes that have arrived in a socket and stay there. They are moved, or read, once and before the next ones are asked for. */
export interface UnreadBytes {
  readonly length: number;
  /**
   * Resolves when all are in the pipe. Rejects with EPIPE when nobody reads it, and with `failed-precondition` where
   * this system cannot move them: then none was moved, and they can be read.
   */
  moveTo(pipe: PipeInput): Promise<void>;
  read(): Promise<Uint8Array>;
}

/** A part of a blob: in memory, or not read yet. */
export type BlobChunk = Uint8Array | UnreadBytes;

/** The bytes of a chunk, in memory. */
export async function bytesOf(chunk: BlobChunk): Promise<Uint8Array> {
  return chunk instanceof Uint8Array ? chunk : await chunk.read();
}
