import { closeSync, constants } from "node:fs";
import { type FileHandle, lstat, open, rename, unlink } from "node:fs/promises";
import { join, resolve } from "node:path";

import { RuntimeError, wrap } from "../../base/errors.ts";
import { nativeCount } from "../native.ts";
import { openRegular } from "./regular-file.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";

const { O_APPEND, O_CREAT, O_EXCL, O_NONBLOCK, O_WRONLY } = constants;
/** How often a name may come and go while it is opened, before somebody is taken to do it on purpose. */
const attempts = 8;
const directoryMode = 0o755;
const logMode = 0o640;

/** Which file it is, whatever its names are. */
export interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/** How {@link LogDirectory} finds a directory. */
export interface LogDirectoryOptions {
  /**
   * Directories whose own path may lead through symbolic links; of those that hold the path, the longest
   * counts. `runtime.log_roots` of the configuration.
   */
  readonly linkedRoots: readonly string[];
  /** Missing directories are made. Without it they are an error. */
  readonly make?: boolean;
}

/**
 * A directory of container logs. Containers may be able to write in it and above it, as log shippers are:
 * it stays the directory that was opened, whatever takes its place on the path, and no call here follows a
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
    const mode = options.make === true ? directoryMode : -1;
    try {
      const [fd = -1] = await nativeCount("openDirectory", [root, below], [mode]);
      return new LogDirectory(clean, fd);
    } catch (error) {
      const doing = `open log directory "${path}"`;
      if (errnoCode(error) !== "ELOOP") throw wrap(doing, error);
      throw new RuntimeError(
        "failed-precondition",
        `${doing}: "${resolve(root, faultPath(error))}" is a symbolic link, and logs are not written through links; ` +
          "put a directory or a bind mount in its place, or name the root of the logs in runtime.log_roots",
        { cause: error },
      );
    }
  }

  /**
   * Opens a log for appending, and makes it where there is none. `failed-precondition` when what has the
   * name is not a regular file, or has a second name.
   */
  async append(name: string): Promise<FileHandle> {
    const doing = `open log "${this.#shown(name)}"`;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const file = (await this.#make(name)) ?? (await this.#appendTo(name, doing));
      if (file !== undefined) return file;
    }
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: something else makes and removes it at the same time`,
    );
  }

  /**
   * Makes a new log and opens it for appending. What had the name is removed; a directory is an error.
   * `already-exists` when something takes the name meanwhile.
   */
  async create(name: string): Promise<FileHandle> {
    let file = await this.#make(name);
    if (file !== undefined) return file;
    await this.remove(name);
    file = await this.#make(name);
    if (file !== undefined) return file;
    throw new RuntimeError(
      "already-exists",
      `make log "${this.#shown(name)}": something else took the name`,
    );
  }

  /** What has the name; of a symbolic link, the link itself. Undefined for nothing. */
  async identity(name: string): Promise<FileIdentity | undefined> {
    try {
      const { dev, ino } = await lstat(this.#at(name), { bigint: true });
      return { dev, ino };
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined;
      throw systemError(`look at log "${this.#shown(name)}"`, cause);
    }
  }

  /** Gives a log another name here. What had that name is gone; a directory is an error. */
  async rename(from: string, to: string): Promise<void> {
    try {
      await rename(this.#at(from), this.#at(to));
    } catch (cause) {
      throw systemError(`rename log "${this.#shown(from)}" to "${to}"`, cause);
    }
  }

  /** Removes what has the name; nothing when there is nothing. A directory is an error. */
  async remove(name: string): Promise<void> {
    try {
      await unlink(this.#at(name));
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return;
      throw systemError(`remove "${this.#shown(name)}"`, cause);
    }
  }

  [Symbol.dispose](): void {
    if (!this.#closed) closeSync(this.#fd);
    this.#closed = true;
  }

  /** Undefined when something has the name. */
  async #make(name: string): Promise<FileHandle | undefined> {
    try {
      // With O_EXCL a link in the last component is not followed (open(2)).
      return await open(this.#at(name), O_WRONLY | O_APPEND | O_CREAT | O_EXCL, logMode);
    } catch (cause) {
      if (errnoCode(cause) === "EEXIST") return undefined;
      throw systemError(`make log "${this.#shown(name)}"`, cause);
    }
  }

  /** Undefined when nothing has the name any more. */
  async #appendTo(name: string, doing: string): Promise<FileHandle | undefined> {
    try {
      // Without O_NONBLOCK a lease of the file's owner holds open(2) up for fs.lease-break-time (fcntl(2)).
      const flags = O_WRONLY | O_APPEND | O_NONBLOCK;
      const file = await openRegular(this.#at(name), flags, doing);
      if ((await file.stat()).nlink <= 1) return file;
      await file.close();
    } catch (cause) {
      if (errnoCode(cause) === "ENOENT") return undefined;
      if (errnoCode(cause) !== "EAGAIN") throw systemError(doing, cause);
      throw new RuntimeError(
        "failed-precondition",
        `${doing}: a process has a lease on it (fcntl(2), F_SETLEASE); end that one, or remove the file`,
        { cause },
      );
    }
    throw new RuntimeError(
      "failed-precondition",
      `${doing}: the file has another name, too (a hard link); remove it`,
    );
  }

  /** proc_pid_fd(5): the kernel goes from the descriptor to the directory, not along its path. */
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

/** Up to where the addon came on the way down from the root. */
function faultPath(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && "path" in cause && typeof cause.path === "string"
    ? cause.path
    : "";
}
