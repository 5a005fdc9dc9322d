import { readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";

import { errnoCode, systemError } from "../../base/system-error.ts";
import type { FileIdentity } from "../../linux/file/index.ts";

/** The regular files that a process has open; undefined when it has ended, or has closed all files to end. */
export async function openFiles(pid: number): Promise<readonly FileIdentity[] | undefined> {
  const directory = `/proc/${pid}/fd`;
  const names = await readdir(directory).catch((cause: unknown) => {
    if (errnoCode(cause) === "ENOENT") return [];
    throw systemError(`list open files of process ${pid}`, cause);
  });
  if (names.length === 0) return undefined;
  const files = await Promise.all(names.map((name) => fileAt(join(directory, name))));
  return files.filter((file) => file !== undefined);
}

/** Whether a file is one of `files`, under any name. */
export function holds(
  files: readonly FileIdentity[] | undefined,
  file: FileIdentity | undefined,
): boolean {
  return (
    file !== undefined &&
    files?.some(({ dev, ino }) => dev === file.dev && ino === file.ino) === true
  );
}

async function fileAt(path: string): Promise<FileIdentity | undefined> {
  try {
    const info = await stat(path, { bigint: true });
    return info.isFile() ? { dev: info.dev, ino: info.ino } : undefined;
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return undefined;
    throw systemError(`stat "${path}"`, cause);
  }
}

/** The inodes of the sockets that a process has open; none when it has ended. */
export async function openSockets(pid: number): Promise<readonly string[]> {
  const directory = `/proc/${pid}/fd`;
  const names = await readdir(directory).catch((cause: unknown) => {
    if (errnoCode(cause) === "ENOENT") return [];
    throw systemError(`list open sockets of process ${pid}`, cause);
  });
  const links = await Promise.all(
    names.map((name) => readlink(join(directory, name)).catch(() => "")),
  );
  return links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []);
}
