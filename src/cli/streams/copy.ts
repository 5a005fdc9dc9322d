import { statSync } from "node:fs";
import { stat } from "node:fs/promises";
import { basename, dirname, join, posix, resolve } from "node:path";
import { Readable, type Writable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { RuntimeError } from "../../base/errors.ts";
import { openRemoteCommand, type RemoteCommand } from "../../client/streaming/index.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { doing, reasonOf } from "../server/explain.ts";
import type { Server } from "../server/session.ts";
import { Packing } from "./packing.ts";
import { TarExtractor } from "./tar-extract.ts";
import { packTar } from "./tar-pack.ts";

/** The limit for the error output of tar. */
const maxStderrBytes = 4096;

/** The container to copy from or to. */
interface CopyOptions {
  readonly server: Server;
  readonly containerId: string;
  /** Its name in messages. */
  readonly container: string;
  /** Called for each path that is not copied. */
  readonly onSkipped: (path: string) => void;
}

/** Copies a file or directory of a container to this machine; into `target` if that is a directory. */
export async function copyFrom(
  options: CopyOptions,
  source: string,
  target: string,
): Promise<void> {
  const name = posix.basename(source);
  if (name === "" || name === "." || name === "..") {
    throw new CommandFailure(
      exitCode.usage,
      `copy "${source}": must end with the name of a file or directory`,
    );
  }
  const command = ["tar", "-c", "-f", "-", "-C", posix.dirname(source), `./${name}`];
  const remote = await run(options, command, false);
  const extractor = new TarExtractor({
    prefix: name,
    target: isDirectory(target) ? join(target, basename(name)) : resolve(target),
    onSkipped: options.onSkipped,
  });
  const stderr = readText(remote.stderr);
  try {
    for await (const chunk of remote.stdout ?? []) extractor.write(chunk as Buffer);
    await checkEnd(remote, stderr, `copy "${source}" from container "${options.container}"`);
    extractor.end();
  } finally {
    extractor.close();
    remote.close();
  }
  if (extractor.created > 0) return;
  throw new CommandFailure(
    exitCode.failed,
    `copy "${source}": not a file or directory; use "davit cp CONTAINER:PATH -" for an archive with links and devices`,
  );
}

/**
 * Writes a file or directory of a container to `sink` as a tar archive under the last part of
 * its path, as docker and podman do. Includes links and devices. Does not end the sink.
 */
export async function copyToStream(
  options: CopyOptions,
  source: string,
  sink: Writable,
): Promise<void> {
  const name = posix.basename(source);
  const own = name === "" || name === "." || name === "..";
  const from = own ? ["-C", source, "."] : ["-C", posix.dirname(source), `./${name}`];
  const remote = await run(options, ["tar", "-c", "-f", "-", ...from], false);
  const stderr = readText(remote.stderr);
  const what = `copy "${source}" from container "${options.container}"`;
  try {
    // If the connection is lost, the end of the command has the error.
    const sent = pipeline(remote.stdout ?? Readable.from([]), sink, { end: false });
    await Promise.all([sent.catch(() => undefined), checkEnd(remote, stderr, what)]);
    await sent;
  } finally {
    remote.close();
  }
}

/** Extracts a tar archive in a directory of a container with the container's tar. */
export async function copyFromStream(
  options: CopyOptions,
  source: Readable,
  target: string,
): Promise<void> {
  const what = `copy to "${target}" in container "${options.container}"`;
  if (!(await isContainerDirectory(options, target))) {
    throw new CommandFailure(
      exitCode.failed,
      `${what}: no such directory in the container; create it first`,
    );
  }
  const remote = await run(options, ["tar", "-x", "-f", "-", "-C", target], true);
  const stderr = readText(remote.stderr);
  remote.stdout?.resume();
  try {
    if (remote.stdin === undefined) throw new RuntimeError("internal", `${what}: no stdin`);
    // tar may exit first, if it fails or has read the whole archive.
    const sent = pipeline(source, remote.stdin).catch(() => undefined);
    await Promise.race([sent, remote.end]);
    await checkEnd(remote, stderr, what);
  } finally {
    remote.close();
  }
}

/** Copies a local file or directory to a container; into `target` if that is a directory. */
export async function copyTo(options: CopyOptions, source: string, target: string): Promise<void> {
  const path = resolve(source);
  await checkExists(source);
  const into = await isContainerDirectory(options, target);
  const directory = into ? target : posix.dirname(target);
  const name = into ? basename(path) : posix.basename(target);
  const remote = await run(options, ["tar", "-x", "-m", "-f", "-", "-C", directory], true);
  const stderr = readText(remote.stderr);
  const what = `copy "${source}" to container "${options.container}"`;
  remote.stdout?.resume();
  try {
    if (remote.stdin === undefined) throw new RuntimeError("internal", `${what}: no stdin`);
    const packing = new Packing(packTar(path, name, options.onSkipped));
    const archive = Readable.from(packing, { objectMode: false });
    // If tar exits early, its error is more useful than the broken pipe.
    const sent = pipeline(archive, remote.stdin).then(
      () => undefined,
      (error: unknown) => error,
    );
    await Promise.race([sent, remote.end]);
    packing.check(what);
    await checkEnd(remote, stderr, what);
    // tar accepts an archive that is truncated after a file.
    packing.check(what);
  } finally {
    remote.close();
  }
}

async function checkExists(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (cause) {
    throw new CommandFailure(exitCode.failed, `copy "${path}": no such file or directory`, {
      cause,
    });
  }
}

function isDirectory(path: string): boolean {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (
    stats === undefined &&
    statSync(dirname(resolve(path)), { throwIfNoEntry: false }) === undefined
  ) {
    throw new CommandFailure(
      exitCode.failed,
      `copy to "${path}": its parent directory does not exist; create it first`,
    );
  }
  return stats?.isDirectory() === true;
}

async function isContainerDirectory(options: CopyOptions, path: string): Promise<boolean> {
  const { server, containerId, container } = options;
  const request = { containerId, cmd: ["test", "-d", path] };
  const answer = server.client.runtime.execSync(request, server.limit());
  return (await doing(`check "${path}" in container "${container}"`, answer)).exitCode === 0;
}

async function run(
  { server, containerId, container }: CopyOptions,
  cmd: readonly string[],
  stdin: boolean,
): Promise<RemoteCommand> {
  const streams = { stdin, stdout: true, stderr: true };
  const request = { containerId, cmd: [...cmd], ...streams };
  const what = `run tar in container "${container}"`;
  const { url } = await doing(what, server.client.runtime.exec(request, server.limit()));
  const { signal } = server;
  return doing(what, openRemoteCommand(url, { ...streams, terminal: false, signal }));
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

async function checkEnd(
  remote: RemoteCommand,
  stderr: Promise<string>,
  what: string,
): Promise<void> {
  const end = await remote.end;
  if ("failure" in end) {
    throw new CommandFailure(exitCode.failed, `${what}: ${reasonOf(end.failure)}`);
  }
  if (end.exitCode === 0) return;
  const text = await stderr;
  const reason = text === "" ? `tar exited with code ${end.exitCode}` : text;
  throw new CommandFailure(exitCode.failed, `${what}: ${reason}`);
}
