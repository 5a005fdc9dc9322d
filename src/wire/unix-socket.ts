// Unix sockets by path: safe listening (stale files, living owners, modes) and what a failed
// connect means. Used by everything here that serves or calls over a socket file.
import { randomBytes } from "node:crypto";
import { chmod, chown, link, lstat, mkdir, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname, join } from "node:path";
import { type ErrorKind, messageOf, RuntimeError } from "../base/errors.ts";

/** Room for a path in sockaddr_un, without its final NUL: unix(7). */
export const maxSocketPathBytes = 107;

/** How a socket file is made. */
export interface UnixListenOptions {
  /** Mode of the socket file. Connecting needs write permission: unix(7). */
  readonly mode: number;
  /** The group of the socket file, and of directories that are made for it; this process's own unless given. */
  readonly gid?: number;
}

/** A socket file that is being served. */
export interface UnixListener {
  readonly path: string;
  /** Stops accepting, removes the socket file if it is still ours, and waits for connections. */
  close(): Promise<void>;
}

interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/**
 * Lets `server` accept on a unix socket at `path`. Its directory is made (0750) where missing; a
 * socket file that nobody serves any more is replaced. The file has its mode and its group before
 * anyone can find it under its name.
 *
 * @throws RuntimeError `failed-precondition` when another process serves the path or something
 *   that is no socket lies there, `invalid-argument` for a path that is too long.
 */
export async function listenUnix(
  server: Server,
  path: string,
  options: UnixListenOptions,
): Promise<UnixListener> {
  // libuv binds the name it is given and unlinks that one at close, so it never sees ours: it
  // could be another process's file by then.
  const hidden = join(dirname(path), `.${randomBytes(3).toString("hex")}`);
  checkSocketPath(path);
  checkSocketPath(hidden);
  let identity: FileIdentity;
  try {
    await makeDirectories(dirname(path), options.gid);
    await removeStale(path);
    await bind(server, hidden);
  } catch (error) {
    throw listenError(path, error);
  }
  try {
    await giveTo(hidden, options.gid);
    await chmod(hidden, options.mode);
    identity = await lstat(hidden, { bigint: true });
    // Not rename(2): link(2) fails when another process got there first.
    await link(hidden, path);
  } catch (error) {
    await closeServer(server);
    throw listenError(path, error);
  } finally {
    await unlink(hidden).catch(() => undefined);
  }
  return {
    path,
    async close() {
      const closed = closeServer(server);
      await unlinkOwn(path, identity);
      await closed;
    },
  };
}

/** @throws RuntimeError `invalid-argument` for a path that does not fit into a socket address. */
export function checkSocketPath(path: string): void {
  const bytes = Buffer.byteLength(path);
  if (bytes <= maxSocketPathBytes) return;
  throw new RuntimeError(
    "invalid-argument",
    `use socket "${path}": a socket path has at most ${maxSocketPathBytes} bytes, this one needs ` +
      `${bytes}: choose a shorter directory`,
  );
}

/** The error for a failed connect to the socket at `path`, with what to do about it. */
export function connectError(path: string, cause: unknown): RuntimeError {
  const [kind, text] = connectFailure(errnoOf(cause)) ?? ["unavailable", messageOf(cause)];
  return new RuntimeError(kind, `connect to "${path}": ${text}`, { cause });
}

function connectFailure(errno: string | undefined): readonly [ErrorKind, string] | undefined {
  const hint = "is the daemon running? start it, or name the socket of another one";
  switch (errno) {
    case "ENOENT":
      return ["unavailable", `there is no such socket: ${hint}`];
    case "ECONNREFUSED":
      return ["unavailable", `nobody serves this socket: ${hint}`];
    case "EACCES":
      return ["permission-denied", "no permission: run as root or as a member of its group"];
    case "ENOTSOCK":
    case "EPROTOTYPE":
      return ["failed-precondition", "this is not a stream socket: name another one"];
    case undefined:
    default:
      return undefined;
  }
}

/** The directory of a socket, and those above it, where they are missing. */
async function makeDirectories(directory: string, gid: number | undefined): Promise<void> {
  const first = await mkdir(directory, { recursive: true, mode: 0o750 });
  if (first === undefined) return;
  for (let made = directory; made.length >= first.length; made = dirname(made))
    await giveTo(made, gid);
}

async function giveTo(path: string, gid: number | undefined): Promise<void> {
  // -1 leaves the owner: chown(2).
  if (gid !== undefined) await chown(path, -1, gid);
}

function bind(server: Server, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (error: Error): void => reject(error);
    server.once("error", failed);
    server.listen(path, () => {
      server.off("error", failed);
      resolve();
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    // The one error is "not running", which is what is wanted.
    server.close(() => resolve());
  });
}

async function removeStale(path: string): Promise<void> {
  const found = await lstatIfThere(path);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new RuntimeError(
      "failed-precondition",
      "this is not a socket: remove it or choose another path",
    );
  }
  if (await isServed(path)) {
    throw new RuntimeError(
      "failed-precondition",
      "another process serves this socket: stop it or choose another path",
    );
  }
  await unlinkOwn(path, found);
}

/** Whether anything but "nobody is there" answers a connect: doubt counts as served. */
function isServed(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", (error) => {
      const errno = errnoOf(error);
      resolve(errno !== "ECONNREFUSED" && errno !== "ENOENT");
    });
  });
}

async function unlinkOwn(path: string, own: FileIdentity): Promise<void> {
  const found = await lstatIfThere(path);
  if (found === undefined || found.ino !== own.ino || found.dev !== own.dev) return;
  await unlink(path).catch((error: unknown) => {
    if (errnoOf(error) !== "ENOENT") throw listenError(path, error);
  });
}

async function lstatIfThere(path: string) {
  try {
    return await lstat(path, { bigint: true });
  } catch (error) {
    if (errnoOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

function listenError(path: string, cause: unknown): RuntimeError {
  const kinds: Readonly<Record<string, ErrorKind>> = {
    EEXIST: "failed-precondition",
    EACCES: "permission-denied",
    EPERM: "permission-denied",
    ENOTDIR: "failed-precondition",
    ENOSPC: "resource-exhausted",
  };
  const kind = cause instanceof RuntimeError ? cause.kind : kinds[errnoOf(cause) ?? ""];
  return new RuntimeError(kind ?? "internal", `listen on "${path}": ${messageOf(cause)}`, {
    cause,
  });
}

function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
