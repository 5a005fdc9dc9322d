import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import process from "node:process";
import { systemError } from "../../base/system-error.ts";

/** Writes the bytes of an archive to a file, which gets its name when it is complete; without a path, to stdout. */
export async function writeArchive(
  path: string | undefined,
  chunks: AsyncIterable<Uint8Array>,
  mode: number,
): Promise<void> {
  if (path === undefined) await toStdout(chunks);
  else await toFile(path, chunks, mode);
}

async function toStdout(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  for await (const chunk of chunks) {
    if (!process.stdout.write(chunk)) await once(process.stdout, "drain");
  }
}

async function toFile(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  mode: number,
): Promise<void> {
  const part = `${path}.${randomBytes(4).toString("hex")}.part`;
  let file: FileHandle | undefined;
  try {
    for await (const chunk of chunks) {
      file ??= await open(part, "wx", mode).catch((cause: unknown) => {
        throw systemError(`write "${path}"`, cause);
      });
      await file.writeFile(chunk).catch((cause: unknown) => {
        throw systemError(`write "${path}"`, cause);
      });
    }
    await file?.close();
    await rename(part, path);
  } catch (error) {
    await file?.close().catch(() => undefined);
    await rm(part, { force: true });
    throw error;
  }
}
