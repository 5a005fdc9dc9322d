import type { BlobInput } from "./blob-input.ts";
import { decompressorFor, detectCompression } from "./decompress.ts";

/** Reads a blob that may be compressed: passes the plain bytes to `take`, and those that arrive to `raw`. */
export async function decompressAll(
  input: BlobInput,
  take: (piece: Buffer) => void,
  raw?: (piece: Buffer) => void,
): Promise<void> {
  const decompressor = decompressorFor(detectCompression(await input.head()));
  const failures: unknown[] = [];
  const feed = async (): Promise<void> => {
    try {
      await input.forEach((bytes) => {
        raw?.(bytes);
        return decompressor.write(bytes);
      });
    } catch (error) {
      failures.push(error);
    } finally {
      decompressor.end();
    }
  };
  const feeding = feed();
  try {
    for await (const piece of decompressor.output) take(piece);
  } catch (error) {
    // The output also fails when the input could not be read or kept.
    throw failures[0] ?? error;
  }
  await feeding;
  if (failures.length > 0) throw failures[0];
}
