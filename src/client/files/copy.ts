// Copies files between this machine and a container, by the container's tar.
import { statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname, join, posix, resolve } from "node:path";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RuntimeError } from "../../base/errors.ts";
import { reasonOf } from "../reason.ts";
import type { RemoteCommand } from "../streaming/index.ts";
import { type Chunks, Packing } from "./packing.ts";
import { TarExtractor } from "./tar-extract.ts";
import { packTar } from "./tar-pack.ts";

/** A container to copy from or to. */
export interface CopyContainer {
  /** Its name in messages. */
  readonly name: string;
  /** Called for each path that is not copied. */
  readonly onSkipped: (path: string) => void;
  /** Starts a command in it, with its outputs and perhaps a stdin. */
  start(command: readonly string[], stdin: boolean): Promise<CopyCommand>;
  /** Whether the path is a directory there. */
  isDirectory(path: string): Promise<boolean>;
}

/** A command in a container, as the copies use it. */
export type CopyCommand = Pick<RemoteCommand, "stdin" | "stdout" | "stderr" | "end" | "close">;

/** The limit for the error output of tar. */
const maxStderrBytes = 4096;

/**
 * Copies a file or directory of a container to this machine; into `target` if that is a directory. Throws
 * `invalid-argument` for a path that does not end with a name.
 */
export async function copyFrom(
  container: CopyContainer,
  source: string,
  target: string,
): Promise<void> {
  const name = posix.basename(source);
  if (name === "" || name === "." || name === "..") {
    throw new RuntimeError(
      "invalid-argument",
      `copy "${source}": must end with the name of a file or directory`,
    );
  }
  const command = ["tar", "-c", "-f", "-", "-C", posix.dirname(source), `./${name}`];
  const into = isDirectory(target) ? join(target, basename(name)) : resolve(target);
  const tar = await container.start(command, false);
  const extractor = new TarExtractor({
    prefix: name,
    target: into,
    onSkipped: container.onSkipped,
  });
  const stderr = readText(tar.stderr);
  try {
    for await (const chunk of tar.stdout ?? []) extractor.write(chunk as Buffer);
    await checkEnd(tar, stderr, `copy "${source}" from container "${container.name}"`);
    extractor.end();
  } finally {
    extractor.close();
    tar.close();
  }
  if (extractor.created > 0) return;
  throw new RuntimeError("failed-precondition", `copy "${source}": not a file or directory`);
}

/**
 * Writes a file or directory of a container to `sink` as a tar archive under the last part of
 * its path, as docker and podman do. Includes links and devices. Does not end the sink.
 */
export async function copyToStream(
  container: CopyContainer,
  source: string,
  sink: Writable,
): Promise<void> {
  const name = posix.basename(source);
  const own = name === "" || name === "." || name === "..";
  const from = own ? ["-C", source, "."] : ["-C", posix.dirname(source), `./${name}`];
  const tar = await container.start(["tar", "-c", "-f", "-", ...from], false);
  const stderr = readText(tar.stderr);
  const what = `copy "${source}" from container "${container.name}"`;
  try {
    // If the connection is lost, the end of the command has the error.
    const sent = pipeline(tar.stdout ?? Readable.from([]), sink, { end: false });
    await Promise.all([sent.catch(() => undefined), checkEnd(tar, stderr, what)]);
    await sent;
  } finally {
    tar.close();
  }
}

/** Extracts a tar archive in a directory of a container with the container's tar. */
export async function copyFromStream(
  container: CopyContainer,
  source: Readable,
  target: string,
): Promise<void> {
  const what = `copy to "${target}" in container "${container.name}"`;
  if (!(await container.isDirectory(target))) {
    throw new RuntimeError(
      "failed-precondition",
      `${what}: no such directory in the container; create it first`,
    );
  }
  const tar = await container.start(["tar", "-x", "-f", "-", "-C", target], true);
  const stderr = readText(tar.stderr);
  tar.stdout?.resume();
  try {
    if (tar.stdin === undefined) throw new RuntimeError("internal", `${what}: no stdin`);
    // tar may exit first, if it fails or has read the whole archive.
    const sent = pipeline(source, tar.stdin).catch(() => undefined);
    await Promise.race([sent, tar.end]);
    await checkEnd(tar, stderr, what);
  } finally {
    tar.close();
  }
}

/** Copies a local file or directory to a container; into `target` if that is a directory. */
export async function copyTo(
  container: CopyContainer,
  source: string,
  target: string,
): Promise<void> {
  const path = resolve(source);
  await checkExists(source);
  const into = await container.isDirectory(target);
  const directory = into ? target : posix.dirname(target);
  const name = into ? basename(path) : posix.basename(target);
  const archive = packTar(path, name, container.onSkipped);
  const what = `copy "${source}" to container "${container.name}"`;
  await extractIn(container, { archive, directory, what });
}

/** Extracts an archive that this side makes, with the container's tar. A failure to make it is thrown. */
export async function extractIn(
  container: Pick<CopyContainer, "start">,
  {
    archive,
    directory,
    what,
  }: {
    readonly archive: Chunks;
    readonly directory: string;
    readonly what: string;
  },
): Promise<void> {
  const tar = await container.start(["tar", "-x", "-m", "-f", "-", "-C", directory], true);
  const stderr = readText(tar.stderr);
  tar.stdout?.resume();
  try {
    if (tar.stdin === undefined) throw new RuntimeError("internal", `${what}: no stdin`);
    const packing = new Packing(archive);
    // If tar exits early, its error is more useful than the broken pipe.
    const sent = pipeline(Readable.from(packing, { objectMode: false }), tar.stdin).then(
      () => undefined,
      (error: unknown) => error,
    );
    await Promise.race([sent, tar.end]);
    packing.check(what);
    await checkEnd(tar, stderr, what);
    // tar accepts an archive that is truncated after a file.
    packing.check(what);
  } finally {
    tar.close();
  }
}

async function checkExists(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (cause) {
    const message = `copy "${path}": no such file or directory`;
    throw new RuntimeError("failed-precondition", message, { cause });
  }
}

function isDirectory(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (
    stats === undefined &&
    statSync(dirname(resolve(path)), { throwIfNoEntry: false }) === undefined
  ) {
    throw new RuntimeError(
      "failed-precondition",
      `copy to "${path}": its parent directory does not exist; create it first`,
    );
  }
  return stats?.isDirectory() === true;
}

/** The beginning of a stream as text. Never rejects. */
async function readText(stream: Readable | undefined): Promise<string> {
  let text = "";
  try {
    for await (const chunk of stream ?? []) text = (text + String(chunk)).slice(0, maxStderrBytes);
  } catch {
    // If the connection is lost, the end of the command has the error.
  }
  return text.trim();
}

async function checkEnd(tar: CopyCommand, stderr: Promise<string>, what: string): Promise<void> {
  const end = await tar.end;
  if ("failure" in end) {
    throw new RuntimeError("failed-precondition", `${what}: ${reasonOf(end.failure)}`);
  }
  if (end.exitCode === 0) return;
  const text = await stderr;
  const reason = text === "" ? `tar exited with code ${end.exitCode}` : text;
  throw new RuntimeError("failed-precondition", `${what}: ${reason}`);
}
