import { isAbsolute, posix } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { copyFrom, copyTo, type CopyContainer, extractIn } from "../client/files/copy.ts";
import { type Chunks, Packing } from "../client/files/packing.ts";
import { fileIn } from "../client/files/tar-file.ts";
import { packBytes } from "../client/files/tar-pack.ts";
import type { CopyOptions, WriteOptions } from "./api/container.ts";
import { isMissingProgram, openCommand } from "./command.ts";
import { DavitError } from "./errors.ts";
import { invalid } from "./explain.ts";
import { type CommandTarget, execBytes } from "./exec.ts";

/** Writes a file in a container by its shell, or by its tar where there is no shell. */
export async function writeFile(
  target: CommandTarget,
  path: string,
  data: string | Uint8Array | AsyncIterable<Uint8Array>,
  options: WriteOptions = {},
): Promise<void> {
  const what = `write "${path}" in container "${target.path}"`;
  checkPath(what, path);
  if (path.endsWith("/")) throw invalid(`${what}: the path must end with the name of a file`);
  const { mode, signal } = options;
  const bytes = typeof data === "string" ? Buffer.from(data) : data;
  const isWhole = bytes instanceof Uint8Array;
  const chunks = isWhole ? [bytes] : bytes;
  if (await writeByShell(target, { what, path, chunks, mode, signal })) return;
  if (!isWhole) {
    const hint = "the image has no shell; pass the data as one value, which needs only tar";
    throw unsupportedImage(what, hint);
  }
  const { dir, base } = posix.parse(path);
  const archive = packBytes(base, bytes, mode ?? 0o644);
  const container = copyContainer(target, signal);
  await needing(what, extractIn(container, { archive, directory: dir, what }), target, signal);
}

// The directory is the text before the last slash; it is empty for a file in the root.
const script =
  'd=${1%/*}; [ -d "${d:-/}" ] || mkdir -p "$d" || exit 1; [ -z "$2" ] || { : >"$1" && chmod "$2" "$1"; } || exit 1; exec cat >"$1"';

interface ShellWrite {
  readonly what: string;
  readonly path: string;
  readonly chunks: Chunks;
  readonly mode: number | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Returns false if the image has no shell; then no data was read. */
async function writeByShell(target: CommandTarget, write: ShellWrite): Promise<boolean> {
  const { what, path, chunks, mode, signal } = write;
  const permissions = mode === undefined ? "" : (mode & 0o7777).toString(8);
  let command;
  try {
    command = await openCommand(target.connection, {
      containerId: target.id,
      container: target.path,
      command: ["sh", "-c", script, "sh", path, permissions],
      stdin: true,
      ...(signal && { signal }),
    });
  } catch (error) {
    if (isMissingProgram(error)) return false;
    throw target.connection.explain(what, error, signal);
  }
  try {
    command.stdout.resume();
    const stderr = text(command.stderr);
    const packing = new Packing(chunks);
    // The command may end first, with an error that is more useful than the broken pipe.
    const sent = pipeline(Readable.from(packing, { objectMode: false }), command.stdin).catch(
      () => undefined,
    );
    await Promise.race([sent, command.end]);
    packing.check(what);
    const exitCode = await command.end;
    if (exitCode === 0) return true;
    const why = await stderr;
    throw new DavitError("failed", `${what}: ${why === "" ? `exit code ${exitCode}` : why}`);
  } catch (error) {
    throw target.connection.explain(what, error, signal);
  } finally {
    command.close();
  }
}

/** The bytes of a file in a container, by its cat, or by its tar. */
export async function readFile(
  target: CommandTarget,
  path: string,
  signal?: AbortSignal,
): Promise<Buffer> {
  const what = `read "${path}" in container "${target.path}"`;
  checkPath(what, path);
  const options = { maxOutputBytes: Number.MAX_SAFE_INTEGER, ...(signal && { signal }) };
  let result;
  try {
    result = await execBytes(target, ["cat", path], options);
  } catch (error) {
    if (!isMissingProgram(error)) throw target.connection.explain(what, error, signal);
    return await readByTar(target, path, what, options);
  }
  if (result.exitCode === 0) return result.bytes[0];
  throw failedRead(what, result.bytes[1].toString().trim());
}

async function readByTar(
  target: CommandTarget,
  path: string,
  what: string,
  options: { readonly signal?: AbortSignal },
): Promise<Buffer> {
  const { dir, base } = posix.parse(path);
  const command = ["tar", "-c", "-h", "-f", "-", "-C", dir, `./${base}`];
  const { bytes, exitCode } = await needing(
    what,
    execBytes(target, command, { ...options, maxOutputBytes: Number.MAX_SAFE_INTEGER }),
    target,
    options.signal,
  );
  if (exitCode !== 0) throw failedRead(what, bytes[1].toString().trim());
  const content = fileIn(bytes[0]);
  if (content === undefined) throw new DavitError("failed", `${what}: not a file`);
  return content;
}

function failedRead(what: string, why: string): DavitError {
  const kind = /no such file|not a directory/i.test(why) ? "not-found" : "failed";
  return new DavitError(kind, `${what}: ${why}`);
}

/** Copies a file or directory of this machine to a container. */
export async function copyIn(
  target: CommandTarget,
  from: string,
  to: string,
  options: CopyOptions = {},
): Promise<void> {
  const what = `copy "${from}" to "${to}" in container "${target.path}"`;
  checkPath(what, to);
  const { onSkipped, signal } = options;
  await needing(what, copyTo(copyContainer(target, signal, onSkipped), from, to), target, signal);
}

/** Copies a file or directory of a container to this machine. */
export async function copyOut(
  target: CommandTarget,
  from: string,
  to: string,
  options: CopyOptions = {},
): Promise<void> {
  const what = `copy "${from}" of container "${target.path}" to "${to}"`;
  checkPath(what, from);
  const { onSkipped, signal } = options;
  await needing(what, copyFrom(copyContainer(target, signal, onSkipped), from, to), target, signal);
}

function copyContainer(
  target: CommandTarget,
  signal?: AbortSignal,
  onSkipped: (path: string) => void = () => undefined,
): CopyContainer {
  const common = { containerId: target.id, container: target.path, ...(signal && { signal }) };
  return {
    name: target.path,
    onSkipped,
    start: async (command, stdin) => {
      const opened = await openCommand(target.connection, { ...common, command, stdin });
      const end = opened.end.then((exitCode) => ({ exitCode }));
      end.catch(() => undefined);
      const { stdout, stderr } = opened;
      return { stdin: opened.stdin, stdout, stderr, end, close: () => opened.close() };
    },
    isDirectory: async (path) => {
      const options = signal === undefined ? {} : { signal };
      return (await execBytes(target, ["test", "-d", path], options)).exitCode === 0;
    },
  };
}

/** Waits for work that needs programs of the image, and says so if they are missing. */
async function needing<T>(
  what: string,
  work: Promise<T>,
  target: CommandTarget,
  signal: AbortSignal | undefined,
): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (isMissingProgram(error)) {
      throw unsupportedImage(
        what,
        "the image has no tar, or no test for copyIn; mount a directory instead",
        error,
      );
    }
    const explained = target.connection.explain(what, error, signal);
    if (explained.kind !== "failed" || !missingFile.test(explained.message)) throw explained;
    throw new DavitError("not-found", explained.message, { cause: explained.cause });
  }
}

const missingFile = /no such file or directory/i;

function unsupportedImage(what: string, hint: string, cause?: unknown): DavitError {
  return new DavitError(
    "unsupported",
    `${what}: the image does not have the programs that this needs`,
    {
      hint,
      cause,
    },
  );
}

function checkPath(what: string, path: string): void {
  if (isAbsolute(path) && !path.includes("\0")) return;
  throw invalid(`${what}: the path in the container must be absolute`);
}

async function text(stream: AsyncIterable<unknown>): Promise<string> {
  let all = "";
  try {
    for await (const chunk of stream) all = (all + String(chunk)).slice(0, 4096);
  } catch {
    // The end of the command has the error.
  }
  return all.trim();
}
