import { randomBytes } from "node:crypto";
import { constants, type FileHandle, access, open, rename, rm, stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import process from "node:process";
import { systemError } from "../../base/system-error.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { takeErrors } from "../output/take-errors.ts";

/** How an archive is written. */
interface ArchiveOutputOptions {
  /** Permissions of the file. */
  readonly mode: number;
  /** The file is on the disk before it gets its name: what it was made of is removed afterwards. */
  readonly isOnlyCopy?: boolean;
}

/** Fails where an archive cannot be written, before the work begins whose result it has. */
export async function checkArchiveOutput(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory() === true) {
    const text = `write "${path}": it is a directory; name a file in it`;
    throw new CommandFailure(exitCode.usage, text);
  }
  await access(dirname(resolve(path)), constants.W_OK | constants.X_OK).catch((cause: unknown) => {
    throw systemError(`write "${path}"`, cause);
  });
}

/**
 * Writes the bytes of an archive to a file, which gets its name when it is complete; without a path, to stdout. Rejects,
 * too, when the reader of a pipe has gone: then nobody has the archive.
 */
export async function writeArchive(
  path: string | undefined,
  chunks: AsyncIterable<Uint8Array>,
  options: ArchiveOutputOptions,
): Promise<void> {
  if (path === undefined) await toStdout(chunks);
  else await toFile(path, chunks, options);
}

/** Gives a complete file its name, and waits until the name is on the disk. */
export async function nameArchive(part: string, path: string): Promise<void> {
  try {
    await rename(part, path);
    await using names = await open(dirname(resolve(path)));
    await names.sync();
  } catch (cause) {
    throw systemError(`write "${path}"`, cause);
  }
}

async function toStdout(chunks: AsyncIterable<Uint8Array>): Promise<void> {
  using _errors = takeErrors(process.stdout, () => undefined);
  for await (const chunk of chunks) await writeToStdout(chunk);
}

async function writeToStdout(chunk: Uint8Array): Promise<void> {
  const { promise, resolve: written, reject } = Promise.withResolvers<undefined>();
  process.stdout.write(chunk, (error) => {
    if (error) reject(systemError("write the archive to stdout", error));
    else written(undefined);
  });
  await promise;
}

async function toFile(
  path: string,
  chunks: AsyncIterable<Uint8Array>,
  { mode, isOnlyCopy = false }: ArchiveOutputOptions,
): Promise<void> {
  const part = `${path}.${randomBytes(4).toString("hex")}.part`;
  const failed = (cause: unknown): never => {
    throw systemError(`write "${path}"`, cause);
  };
  let file: FileHandle | undefined;
  try {
    for await (const chunk of chunks) {
      file ??= await open(part, "wx", mode).catch(failed);
      await file.writeFile(chunk).catch(failed);
    }
    if (isOnlyCopy) await file?.sync().catch(failed);
    await file?.close();
    await nameArchive(part, path);
  } catch (error) {
    await file?.close().catch(() => undefined);
    await rm(part, { force: true });
    throw error;
  }
}
