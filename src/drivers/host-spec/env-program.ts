import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { constants } from "node:fs";
import { wrap } from "../../base/errors.ts";
import { envProgramPath } from "../../linux/process/index.ts";
import { removeTree } from "../../linux/file/index.ts";
import { envProgram } from "../../oci-spec/index.ts";

const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;

/**
 * Adds the program to a container's root that sets variables of any bytes for its commands. A copy, so
 * that no container can change what another one runs; in the root, so that it has the root's label and
 * mount options. Before the container runs: a file of its image at this path is replaced, and is not
 * followed where it is a link.
 */
export async function addEnvProgram(rootfs: string): Promise<void> {
  const path = join(rootfs, envProgram);
  try {
    const program = await readFile(envProgramPath());
    await removeTree(path);
    await using file = await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o555);
    await file.writeFile(program);
    // Independent of the daemon's umask.
    await file.chmod(0o555);
  } catch (error) {
    throw wrap(`put "${envProgram}" into the container's root`, error);
  }
}
