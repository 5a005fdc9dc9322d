import { posix } from "node:path";
import type { Readable, Writable } from "node:stream";
import { isKind, messageOf } from "../../base/errors.ts";
import * as files from "../../client/files/copy.ts";
import { openRemoteCommand } from "../../client/streaming/index.ts";
import { CommandFailure, exitCode } from "../command-line/exit-code.ts";
import { doing } from "../server/explain.ts";
import type { Server } from "../server/session.ts";

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
  try {
    await files.copyFrom(containerOf(options), source, target);
  } catch (cause) {
    const message = messageOf(cause);
    if (isKind(cause, "invalid-argument") && ["", ".", ".."].includes(posix.basename(source))) {
      throw new CommandFailure(exitCode.usage, message, { cause });
    }
    if (!message.endsWith(": not a file or directory")) throw cause;
    const hint = 'use "davit cp CONTAINER:PATH -" for an archive with links and devices';
    throw new CommandFailure(exitCode.failed, `${message}; ${hint}`, { cause });
  }
}

/** Writes a file or directory of a container to `sink` as a tar archive (client/files/copy.ts). */
export async function copyToStream(
  options: CopyOptions,
  source: string,
  sink: Writable,
): Promise<void> {
  await files.copyToStream(containerOf(options), source, sink);
}

/** Extracts a tar archive in a directory of a container with the container's tar. */
export async function copyFromStream(
  options: CopyOptions,
  source: Readable,
  target: string,
): Promise<void> {
  await files.copyFromStream(containerOf(options), source, target);
}

/** Copies a local file or directory to a container; into `target` if that is a directory. */
export async function copyTo(options: CopyOptions, source: string, target: string): Promise<void> {
  await files.copyTo(containerOf(options), source, target);
}

function containerOf(options: CopyOptions): files.CopyContainer {
  const { server, containerId, container, onSkipped } = options;
  return {
    name: container,
    onSkipped,
    start: async (command, stdin) => {
      const streams = { stdin, stdout: true, stderr: true };
      const request = { containerId, cmd: [...command], ...streams };
      const what = `run tar in container "${container}"`;
      const { url } = await doing(what, server.client.runtime.exec(request, server.limit()));
      const { signal } = server;
      return doing(what, openRemoteCommand(url, { ...streams, terminal: false, signal }));
    },
    isDirectory: async (path) => {
      const request = { containerId, cmd: ["test", "-d", path] };
      const answer = server.client.runtime.execSync(request, server.limit());
      return (await doing(`check "${path}" in container "${container}"`, answer)).exitCode === 0;
    },
  };
}
