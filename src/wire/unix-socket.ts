// Unix sockets by path: safe listening (stale files, other owners, modes) and errors of a failed
// connect.
import { randomBytes } from "node:crypto";
import { chmod, chown, link, lstat, mkdir, unlink } from "node:fs/promises";
import { connect, type Server } from "node:net";
import { dirname, join } from "node:path";
import { type ErrorKind, messageOf, RuntimeError } from "../base/errors.ts";

/** The longest path in sockaddr_un, without its final NUL: unix(7). */
const maxSocketPathBytes = 107;

/** Options of a socket file. */
export interface UnixListenOptions {
  /** Mode of the socket file. Connecting needs write permission: unix(7). */
  readonly mode: number;
  /** The group of the socket file, and of directories that are made for it; that of this process if not given. */
  readonly gid?: number;
}

/** A socket that is being served. */
export interface UnixListener {
  readonly path: string;
  /** Stops accepting, removes the socket file if no other process replaced it, and waits for connections. */
  close(): Promise<void>;
}

interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
}

/**
 * Lets `server` accept on a unix socket at `path`. A missing directory is made (0750); a
 * stale socket file is replaced. The file has its mode and its group before it has its name.
 *
 * @throws RuntimeError `failed-precondition` when another process serves the path or it is not
 *   a socket, `invalid-argument` for a path that is too long.
 */
export async function listenUnix(
  server: Server,
  path: string,
  options: UnixListenOptions,
): Promise<UnixListener> {
  // libuv unlinks the name that it binds at close. So it gets another name, because a file at `path`
  // could belong to another process by then.
  const temporary = join(dirname(path), `.${randomBytes(3).toString("hex")}`);
  checkSocketPath(path);
  checkSocketPath(temporary);
  let identity: FileIdentity;
  try {
    await makeDirectories(dirname(path), options.gid);
    await removeStale(path);
    await bind(server, temporary);
  } catch (error) {
    throw listenError(path, error);
  }
  try {
    await setGroup(temporary, options.gid);
    await chmod(temporary, options.mode);
    identity = await lstat(temporary, { bigint: true });
    // Not rename(2): link(2) fails when another process has made the file first.
    await link(temporary, path);
  } catch (error) {
    await closeServer(server);
    throw listenError(path, error);
  } finally {
    await unlink(temporary).catch(() => undefined);
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

/** The error for a failed connect to the socket at `path`, with advice. */
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
      return ["unavailable", `no process serves this socket: ${hint}`];
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

/** Makes the directory of a socket and its missing parents. */
async function makeDirectories(directory: string, gid: number | undefined): Promise<void> {
  const first = await mkdir(directory, { recursive: true, mode: 0o750 });
  if (first === undefined) return;
  for (let made = directory; made.length >= first.length; made = dirname(made))
    await setGroup(made, gid);
}

async function setGroup(path: string, gid: number | undefined): Promise<void> {
  // -1 does not change the owner: chown(2).
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
    // The only error is "not running", which is the goal.
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

/** Whether a process serves the socket. An unexpected error counts as yes. */
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
