import { constants } from "node:fs";
import { type FileHandle, lstat, mkdir, open, readdir, rm, rmdir } from "node:fs/promises";
import { dirname } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { beforeAbort } from "../../base/wait.ts";
import { type CheckpointOutputs, podCheckpointFiles } from "../../core/checkpoint/index.ts";
import { removeTree } from "../../linux/file/index.ts";

const { O_DIRECTORY, O_NOFOLLOW, O_RDONLY } = constants;

/** A path may be on a server that does not answer. Milliseconds. */
const stallMs = 10_000;

/** Checks and clears what clients name, on the file systems of this node. */
export class FileOutputs implements CheckpointOutputs {
  async checkNewFile(path: string): Promise<void> {
    const doing = `write checkpoint to ${quote(path)}`;
    await unstalled(path, doing, async () => {
      const parent = dirname(path);
      const directory = await openDirectory(parent, 0);
      if (directory === undefined) {
        throw new RuntimeError(
          "invalid-argument",
          `${doing}: ${quote(parent)} is not an existing directory; make it first`,
        );
      }
      await directory.close();
      if ((await statOf(path)) === undefined) return;
      throw new RuntimeError(
        "already-exists",
        `${doing}: there is something with this name; remove it, or name another file`,
      );
    });
  }

  async checkEmptyDirectory(path: string): Promise<void> {
    await withEmptyDirectory(path, () => Promise.resolve());
  }

  async claimEmptyDirectory(path: string): Promise<void> {
    await withEmptyDirectory(path, async (opened, notEmpty) => {
      const claim = `${inside(opened)}/${podCheckpointFiles.containers}`;
      try {
        await mkdir(claim, { mode: 0o700 });
      } catch (cause) {
        throw errnoCode(cause) === "EEXIST" ? notEmpty : systemError(`make "${claim}"`, cause);
      }
      if ((await readdir(inside(opened))).length === 1) return;
      await rmdir(claim);
      throw notEmpty;
    });
  }

  async removeFile(path: string): Promise<void> {
    await rm(path, { force: true });
  }

  async clear(path: string): Promise<void> {
    const directory = await openDirectory(path, O_NOFOLLOW);
    if (directory === undefined) return;
    await using opened = directory;
    for (const name of await readdir(inside(opened))) {
      await removeTree(`${inside(opened)}/${name}`);
    }
  }
}

/** Does something with an empty directory. */
async function withEmptyDirectory(
  path: string,
  work: (opened: FileHandle, notEmpty: RuntimeError) => Promise<void>,
): Promise<void> {
  const doing = `write checkpoint to ${quote(path)}`;
  await unstalled(path, doing, async () => {
    const directory = await openDirectory(path, O_NOFOLLOW);
    if (directory === undefined) {
      throw new RuntimeError(
        "invalid-argument",
        `${doing}: it is not an existing directory, or a link to one; make a directory first`,
      );
    }
    await using opened = directory;
    const notEmpty = new RuntimeError(
      "invalid-argument",
      `${doing}: the directory is not empty; name an empty one`,
    );
    if ((await readdir(inside(opened))).length > 0) throw notEmpty;
    await work(opened, notEmpty);
  });
}

/** Undefined if there is no directory at the path. */
async function openDirectory(path: string, flags: number): Promise<FileHandle | undefined> {
  try {
    return await open(path, O_RDONLY | O_DIRECTORY | flags);
  } catch (cause) {
    if (["ENOENT", "ENOTDIR", "ELOOP"].includes(errnoCode(cause) ?? "")) return undefined;
    throw systemError(`open ${quote(path)}`, cause);
  }
}

/** The path of an open directory, whatever is at its name by now. */
function inside({ fd }: FileHandle): string {
  return `/proc/self/fd/${fd}`;
}

async function statOf(path: string): Promise<object | undefined> {
  try {
    return await lstat(path);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`look at ${quote(path)}`, cause);
  }
}

async function unstalled(path: string, doing: string, work: () => Promise<void>): Promise<void> {
  const limit = AbortSignal.timeout(stallMs);
  try {
    await beforeAbort(work(), limit);
  } catch (error) {
    if (!limit.aborted) throw error;
    throw new RuntimeError(
      "unavailable",
      `${doing}: the file system of ${quote(path)} has not answered for ${stallMs / 1000} s`,
      { cause: error },
    );
  }
}
