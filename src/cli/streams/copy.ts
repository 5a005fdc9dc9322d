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

/** What is told of a failing tar. */
const wordsBytes = 4096;

/** A container to copy from or to, and whom to tell what was left out. */
export interface CopyOptions {
  readonly server: Server;
  readonly containerId: string;
  /** What a person calls it. */
  readonly container: string;
  readonly onSkipped: (path: string) => void;
}

/** Copies a file or directory of a container to this machine; into `target` where that is a directory. */
export async function copyFrom(
  options: CopyOptions,
  source: string,
  target: string,
): Promise<void> {
  const name = posix.basename(source);
  if (name === "" || name === "." || name === "..") {
    throw new CommandFailure(exitCode.usage, `copy "${source}": name the file or directory itself`);
  }
  const command = ["tar", "-c", "-f", "-", "-C", posix.dirname(source), `./${name}`];
  const remote = await run(options, command, false);
  const extractor = new TarExtractor({
    prefix: name,
    target: isDirectory(target) ? join(target, basename(name)) : resolve(target),
    onSkipped: options.onSkipped,
  });
  const words = wordsOf(remote.stderr);
  try {
    for await (const chunk of remote.stdout ?? []) extractor.write(chunk as Buffer);
    await checkEnd(remote, words, `copy "${source}" from container "${options.container}"`);
    extractor.end();
  } finally {
    extractor.close();
    remote.close();
  }
  if (extractor.made > 0) return;
  throw new CommandFailure(
    exitCode.failed,
    `copy "${source}": there is neither file nor directory in it`,
  );
}

/**
 * Writes a file or directory of a container to `sink` as a tar archive, which names it by the last part of
 * its path, as docker and podman do. Links and devices are in it. The sink is not ended.
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
  const words = wordsOf(remote.stderr);
  const what = `copy "${source}" from container "${options.container}"`;
  try {
    // Cut by a lost connection: the end of the command tells of that.
    const sent = pipeline(remote.stdout ?? Readable.from([]), sink, { end: false });
    await Promise.all([sent.catch(() => undefined), checkEnd(remote, words, what)]);
    await sent;
  } finally {
    remote.close();
  }
}

/** Unpacks a tar archive in a directory of a container, as the tar there does it. */
export async function copyFromStream(
  options: CopyOptions,
  source: Readable,
  target: string,
): Promise<void> {
  const what = `copy to "${target}" in container "${options.container}"`;
  if (!(await isDirectoryThere(options, target))) {
    throw new CommandFailure(exitCode.failed, `${what}: there is no such directory`);
  }
  const remote = await run(options, ["tar", "-x", "-f", "-", "-C", target], true);
  const words = wordsOf(remote.stderr);
  remote.stdout?.resume();
  try {
    if (remote.stdin === undefined) throw new RuntimeError("internal", `${what}: no stdin`);
    // A tar that has read enough, or that fails, ends first, and says why.
    const sent = pipeline(source, remote.stdin).catch(() => undefined);
    await Promise.race([sent, remote.end]);
    await checkEnd(remote, words, what);
  } finally {
    remote.close();
  }
}

/** Copies a file or directory of this machine to a container; into `target` where that is a directory. */
export async function copyTo(options: CopyOptions, source: string, target: string): Promise<void> {
  const path = resolve(source);
  await lookAt(source);
  const into = await isDirectoryThere(options, target);
  const directory = into ? target : posix.dirname(target);
  const name = into ? basename(path) : posix.basename(target);
  const remote = await run(options, ["tar", "-x", "-m", "-f", "-", "-C", directory], true);
  const words = wordsOf(remote.stderr);
  const what = `copy "${source}" to container "${options.container}"`;
  remote.stdout?.resume();
  try {
    if (remote.stdin === undefined) throw new RuntimeError("internal", `${what}: no stdin`);
    const packing = new Packing(packTar(path, name, options.onSkipped));
    const archive = Readable.from(packing, { objectMode: false });
    // A tar that has ended early says why; that counts more than that nobody reads any more.
    const sent = pipeline(archive, remote.stdin).then(
      () => undefined,
      (error: unknown) => error,
    );
    await Promise.race([sent, remote.end]);
    packing.check(what);
    await checkEnd(remote, words, what);
    // Tar takes an archive that ends after any of its files for a whole one.
    packing.check(what);
  } finally {
    remote.close();
  }
}

async function lookAt(path: string): Promise<void> {
  try {
    await stat(path);
  } catch (cause) {
    throw new CommandFailure(
      exitCode.failed,
      `copy "${path}": there is no such file or directory`,
      {
        cause,
      },
    );
  }
}

function isDirectory(path: string): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  if (
    there === undefined &&
    statSync(dirname(resolve(path)), { throwIfNoEntry: false }) === undefined
  ) {
    throw new CommandFailure(exitCode.failed, `copy to "${path}": its directory is not there`);
  }
  return there?.isDirectory() === true;
}

async function isDirectoryThere(options: CopyOptions, path: string): Promise<boolean> {
  const { server, containerId, container } = options;
  const request = { containerId, cmd: ["test", "-d", path] };
  const answer = server.client.runtime.execSync(request, server.limit());
  return (await doing(`look for "${path}" in container "${container}"`, answer)).exitCode === 0;
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

/** What was said, from its beginning on. Never rejects. */
async function wordsOf(stream: Readable | undefined): Promise<string> {
  let words = "";
  try {
    for await (const chunk of stream ?? []) words = (words + String(chunk)).slice(0, wordsBytes);
  } catch {
    // The connection is lost: the end says so.
  }
  return words.trim();
}

async function checkEnd(
  remote: RemoteCommand,
  words: Promise<string>,
  what: string,
): Promise<void> {
  const end = await remote.end;
  if ("failure" in end) {
    throw new CommandFailure(exitCode.failed, `${what}: ${reasonOf(end.failure)}`);
  }
  if (end.exitCode === 0) return;
  const said = await words;
  const why = said === "" ? `tar ended with code ${end.exitCode}` : said;
  throw new CommandFailure(exitCode.failed, `${what}: ${why}`);
}
