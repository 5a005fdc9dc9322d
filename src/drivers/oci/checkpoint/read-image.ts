import { open } from "node:fs/promises";

import { maxImageBytes } from "./images/image-file.ts";

/** Reads a small file of a checkpoint, whoever made it: one byte more than an image can have, which no parser accepts. */
export async function readImage(path: string): Promise<Buffer> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const buffer = Buffer.alloc(Math.min(size, maxImageBytes + 1));
  const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
  return buffer.subarray(0, bytesRead);
}
