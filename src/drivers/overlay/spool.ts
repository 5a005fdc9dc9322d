import { type FileHandle, open, unlink } from "node:fs/promises";
import { RuntimeError } from "../../base/errors.ts";
import { releaseTransferred, markTransferable } from "../../base/transferable.ts";
import { bytesOf } from "../../base/unread-bytes.ts";
import { beforeAbort } from "../../base/wait.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { DiskHeadroom } from "../../linux/host/index.ts";
import { systemError } from "../../base/system-error.ts";

const PIECE = 256 * 1024;

/** Where a blob is kept. */
interface SpoolOptions {
  readonly layer: LayerSource;
  /** Directory of the file, which has no name in it. */
  readonly directory: string;
  /** What messages call its file system. */
  readonly disk: string;
  readonly signal: AbortSignal;
}

/**
 * A blob in a file, for when no unpacker is free to wait for it. Nothing is left of the file
 * when the daemon ends; disposing frees its space.
 */
export class Spool implements AsyncDisposable {
  readonly #file: FileHandle;
  #size = 0;

  /**
   * Resolves when the whole blob is in the file. Rejects with its source's failure or the signal's reason,
   * `resource-exhausted` before the disk is full, `data-loss` for a blob that is too long.
   */
  static async fill(options: SpoolOptions): Promise<Spool> {
    const spool = new Spool(await openNameless(`${options.directory}/blob`));
    try {
      await spool.#readAll(options);
      return spool;
    } catch (error) {
      await spool[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor(file: FileHandle) {
    this.#file = file;
  }

  /** The blob from its beginning; each chunk is given away. */
  async *chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.#size; ) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(PIECE, this.#size - at));
      const { bytesRead } = await this.#file.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw new RuntimeError("internal", `read blob: it ends at byte ${at}`);
      at += bytesRead;
      markTransferable(chunk);
      yield chunk.subarray(0, bytesRead);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #readAll({ layer, directory, disk, signal }: SpoolOptions): Promise<void> {
    const room = new DiskHeadroom(disk);
    const chunks = layer.chunks[Symbol.asyncIterator]();
    for (;;) {
      const next = await beforeAbort(chunks.next(), signal);
      if (next.done === true) return;
      const { length } = next.value;
      if (BigInt(this.#size + length) > layer.blob.sizeBytes) {
        throw new RuntimeError(
          "data-loss",
          `fetch blob "${layer.blob.digest}": it is longer than its ${layer.blob.sizeBytes} bytes`,
        );
      }
      await room.reserve(directory, length, 0);
      const bytes = await bytesOf(next.value);
      try {
        await this.#append(bytes);
      } catch (cause) {
        throw systemError(`keep blob "${layer.blob.digest}" in a file in "${directory}"`, cause);
      }
      releaseTransferred(bytes);
    }
  }

  async #append(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      const { bytesWritten } = await this.#file.write(chunk, at, chunk.length - at, this.#size);
      at += bytesWritten;
      this.#size += bytesWritten;
    }
  }
}

async function openNameless(path: string): Promise<FileHandle> {
  const file = await open(path, "wx+", 0o600);
  try {
    await unlink(path);
    return file;
  } catch (cause) {
    await file.close();
    throw systemError(`unlink "${path}"`, cause);
  }
}
