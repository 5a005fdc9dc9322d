import { closeSync, constants } from "node:fs";
import { type FileHandle, lstat, open, rename, unlink } from "node:fs/promises";
import { join, resolve } from "node:path";

import { RuntimeError, wrap } from "../../base/errors.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import { openDirectory } from "./native.ts";
import { openRegular } from "./regular-file.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;
/** How often opening a name that appears and disappears is tried again. */
const attempts = 8;
const directoryMode = 0o755;
const logMode = 0o640;

/** Identifies a file, whatever its names are. */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** A file at a name. */
interface NamedFile extends FileIdentity {
  /** In bytes. */
  readonly size: bigint;
}

/** How {@link LogDirectory} finds a directory. */
export interface LogDirectoryOptions {
  /**
   * Directories whose own path may lead through symbolic links. The longest one that contains the path
   * counts. `runtime.log_roots` of the configuration.
   */
  readonly linkedRoots: readonly string[];
  /** Makes missing directories. Without it they are an error. */
  readonly make?: boolean;
}

/**
 * A directory of container logs. Containers such as log shippers may be able to write in it and above it. So it
 * stays the directory that was opened even if another one replaces it on the path, and no call here follows a
 * symbolic link, opens a device or waits for a FIFO.
 */
export class LogDirectory implements Disposable {
  readonly #path: string;
  readonly #fd: number;
  #closed = false;

  private constructor(path: string, fd: number) {
    this.#path = path;
    this.#fd = fd;
  }

  /**
   * Opens the directory at an absolute path, without following a symbolic link in any of its components
   * (openat2(2), RESOLVE_NO_SYMLINKS). `failed-precondition`, naming it, for a link; otherwise the errno's kind.
   */
  static async open(path: string, options: LogDirectoryOptions): Promise<LogDirectory> {
    const clean = resolve(path);
    const root = linkedRoot(clean, options.linkedRoots);
    const below = clean.slice(root.length).replace(/^\/+/, "");
    const mode = options.make === true ? directoryMode : undefined;
    try {
      return new LogDirectory(clean, await openDirectory(root, below, mode));
    } catch (error) {
      const doing = `open log directory "${path}"`;
      if (errnoCode(error) !== "ELOOP") throw wrap(doing, error);
      throw new RuntimeError(
        "failed-precondition",
        `${doing}: "${resolve(root, faultPath(error))}" is a symbolic link, and logs are not written through links; ` +
          "replace it with a directory or a bind mount, or add the root of the logs to runtime.log_roots",
        { cause: error },
      );
    }
  }

  /**
   * Opens a log for appending, and makes it if it does not exist. `failed-precondition` when the name is not
   * that of a regular file, or the file has a second name.
   */
  async append(name: string): Promise<FileHandle> {
    const doing = `open log "${this.#shown(name)}"`;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const file = (await this.#make(name)) ?? (await this.#appendTo(name, doing));
      if (file !== undefined) return file;
    }
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: another process creates and removes it at the same time; stop that process`,
    );
  }

  /**
   * Makes a new log and opens it for appending. Removes a file that has the name; a directory is an error.
   * `already-exists` when another process uses the name meanwhile.
   */
  async create(name: string): Promise<FileHandle> {
    let file = await this.#make(name);
    if (file !== undefined) return file;
    await this.remove(name);
    file = await this.#make(name);
    if (file !== undefined) return file;
    throw new RuntimeError(
      "already-exists",
      `make log "${this.#shown(name)}": another process created a file with this name; try again`,
    );
  }

  /**
   * Opens a log for reading. `failed-precondition` when the name is not that of a regular file, which is then not
   * opened; otherwise an error with the errno's name.
   */
  async read(name: string): Promise<FileHandle> {
    const doing = `read log "${this.#shown(name)}"`;
    return await openRegular(this.#at(name), O_RDONLY | O_NONBLOCK, doing);
  }

  /** The file that has the name; a symbolic link is not followed. Undefined when there is none. */
  async identity(name: string): Promise<NamedFile | undefined> {
    try {
      const { dev, ino, size } = await lstat(this.#at(name), { bigint: true });
      return { dev, ino, size };
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined;
      throw systemError(`stat log "${this.#shown(name)}"`, cause);
    }
  }

  /** Renames a log in this directory. Replaces a file that has the new name; a directory is an error. */
  async rename(from: string, to: string): Promise<void> {
    try {
      await rename(this.#at(from), this.#at(to));
    } catch (cause) {
      throw systemError(`rename log "${this.#shown(from)}" to "${to}"`, cause);
    }
  }

  /** Removes the file that has the name, if there is one. A directory is an error. */
  async remove(name: string): Promise<void> {
    try {
      await unlink(this.#at(name));
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return;
      throw systemError(`remove log "${this.#shown(name)}"`, cause);
    }
  }

  [Symbol.dispose](): void {
    if (!this.#closed) closeSync(this.#fd);
    this.#closed = true;
  }

  /** Undefined when the name is in use. */
  async #make(name: string): Promise<FileHandle | undefined> {
    try {
      // With O_EXCL a link in the last component is not followed (open(2)).
      return await open(this.#at(name), O_WRONLY | O_APPEND | O_CREAT | O_EXCL, logMode);
    } catch (cause) {
      if (errnoCode(cause) === "EEXIST") return undefined;
      throw systemError(`make log "${this.#shown(name)}"`, cause);
    }
  }

  /** Undefined when the file no longer exists. */
  async #appendTo(name: string, doing: string): Promise<FileHandle | undefined> {
    try {
      // Without O_NONBLOCK a lease of the file's owner blocks open(2) for fs.lease-break-time (fcntl(2)).
      const flags = O_WRONLY | O_APPEND | O_NONBLOCK;
      const file = await openRegular(this.#at(name), flags, doing);
      if ((await file.stat()).nlink <= 1) return file;
      await file.close();
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined;
      if (errnoCode(cause) !== "EAGAIN") throw systemError(doing, cause);
      throw new RuntimeError(
        "failed-precondition",
        `${doing}: a process has a lease on it (fcntl(2), F_SETLEASE); end that process, or remove the file`,
        { cause },
      );
    }
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: the file has another name, too (a hard link); remove one of them`,
    );
  }

  /** The kernel resolves this through the descriptor, not through the directory's path (proc_pid_fd(5)). */
  #at(name: string): string {
    return `/proc/self/fd/${this.#fd}/${name}`;
  }

  #shown(name: string): string {
    return join(this.#path, name);
  }
}

function linkedRoot(path: string, roots: readonly string[]): string {
  const holding = roots
    .map((root) => resolve(root))
    .filter((root) => path === root || path.startsWith(root === "/" ? "/" : `${root}/`));
  return holding.toSorted((a, b) => b.length - a.length)[0] ?? "/";
}

/** The path, relative to the root, at which the addon failed. */
function faultPath(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "path" in cause && typeof cause.path === "string"
    ? cause.path
    : "";
}
