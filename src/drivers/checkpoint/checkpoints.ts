import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, rmdir, stat } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { toBinary } from "@bufbuild/protobuf";
import { messageOf, RuntimeError, wrap } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import { errnoCode, systemError } from "../../base/system-error.ts";
import {
  type CapturedContainer,
  checkpointFiles,
  type Checkpoints,
  type OpenedCheckpoint,
  type OpenedPodCheckpoint,
  type OpenOptions,
  podCheckpointFiles,
} from "../../core/checkpoint/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerChanges, Layers } from "../../core/snapshot/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import { PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { removeTree, syncFileSystem } from "../../linux/file/index.ts";
import type { OwnProgram } from "../../linux/process/index.ts";
import { removePartial, writeArchive } from "./archive.ts";
import { ChangesLayers } from "./changes-layer.ts";
import { completeCapture, sealCapture } from "./complete.ts";
import { createFile, digestText, namesIn, OpenDirectory, writeError } from "./files.ts";
import { CheckpointLayout } from "./layout.ts";
import {
  containerDirectory,
  formatPodManifest,
  maxManifestBytes,
  type PodManifest,
  sealedPodText,
} from "./manifest.ts";
import { openArchive, type OpenDeps, openPod } from "./open-checkpoint.ts";
import { NodeSeal } from "./seal.ts";

/** What the files of checkpoints need. */
export interface CheckpointFilesDeps {
  /** The root of the configuration: checkpoints are in its directory `checkpoints`. */
  readonly root: string;
  /** The largest checkpoint that is restored. Bytes. */
  readonly maxBytes: number;
  readonly changes: ContainerChanges;
  readonly layers: Pick<Layers, "has" | "unpack">;
  /** How to start the program that reads and writes archives; this same program if not given. */
  readonly program?: OwnProgram | undefined;
}

/** Checkpoints in `<root>/checkpoints`, see {@link CheckpointLayout}, and in directories and archives of clients. */
export class CheckpointStore implements Checkpoints {
  readonly #deps: CheckpointFilesDeps;
  readonly #paths: CheckpointLayout;
  readonly #seal: NodeSeal;
  readonly #open: OpenDeps;
  /** Captures, restores and notes of archives of this daemon. */
  readonly #mine = new Set<string>();

  constructor(deps: CheckpointFilesDeps) {
    const { maxBytes, program } = deps;
    this.#deps = deps;
    this.#paths = new CheckpointLayout(join(deps.root, "checkpoints"));
    this.#seal = new NodeSeal(this.#paths.key);
    const changes = new ChangesLayers({ layers: deps.layers, maxBytes, program });
    this.#open = { paths: this.#paths, seal: this.#seal, changes, maxBytes, program };
  }

  async begin(name: string, parent?: string): Promise<string> {
    const doing = `begin checkpoint of ${quote(name)}`;
    const plain = containerDirectory(name);
    const directory =
      parent === undefined
        ? join(this.#paths.captures, `${plain}-${randomUUID()}`)
        : join(parent, plain);
    try {
      if (parent === undefined) await mkdir(this.#paths.captures, { recursive: true, mode: 0o700 });
      else await checkParent(parent);
      // Before it exists: a sweep may run.
      this.#mine.add(directory);
      await this.#makeDirectory(directory);
      return directory;
    } catch (cause) {
      throw cause instanceof RuntimeError ? wrap(doing, cause) : systemError(doing, cause);
    }
  }

  /** Makes the directory of a capture, or nothing. */
  async #makeDirectory(directory: string): Promise<void> {
    let isMade = false;
    try {
      await mkdir(directory, { mode: 0o700 });
      isMade = true;
      await mkdir(join(directory, checkpointFiles.images), { mode: 0o700 });
    } catch (cause) {
      // What cannot be discarded is removed by a later sweep.
      if (isMade) await this.discard(directory).catch(() => undefined);
      else this.#mine.delete(directory);
      throw cause;
    }
  }

  async complete(
    directory: string,
    captured: CapturedContainer,
    operation: Operation,
  ): Promise<void> {
    const { changes, maxBytes } = this.#deps;
    await completeCapture({ changes, maxBytes }, directory, captured, operation);
  }

  async completePod(
    directory: string,
    sandbox: Sandbox,
    containers: readonly string[],
    { signal }: Operation,
  ): Promise<void> {
    const doing = `complete the checkpoint of sandbox "${sandbox.id}"`;
    try {
      const path = join(directory, podCheckpointFiles.manifest);
      for (const name of containers) {
        const each = join(directory, podCheckpointFiles.containers, containerDirectory(name));
        await sealCapture(this.#seal, each, signal);
      }
      const manifest = await podManifest(directory, sandbox, containers);
      const code = await this.#seal.codeOf(sealedPodText(manifest));
      // The manifest is the last file: where it is, the others are, also after a power cut.
      await using names = await open(directory);
      await syncFileSystem(names.fd, directory);
      signal.throwIfAborted();
      await using file = await createFile(path);
      await file.writeFile(formatPodManifest(manifest, code));
      await file.sync();
      await names.sync();
    } catch (cause) {
      signal.throwIfAborted();
      throw await writeError(doing, directory, cause);
    }
  }

  async archive(directory: string, location: string, signal: AbortSignal): Promise<void> {
    const { program } = this.#deps;
    const deps = { paths: this.#paths, seal: this.#seal, program, mine: this.#mine };
    await writeArchive(deps, directory, { location, signal });
  }

  async discard(directory: string): Promise<void> {
    await removeTree(directory);
    this.#mine.delete(directory);
    const parent = dirname(directory);
    if (parent === this.#paths.restores) this.#mine.delete(basename(directory));
    // The directory of a pod's restore goes with the last of its containers.
    if (dirname(parent) !== this.#paths.restores) return;
    try {
      await rmdir(parent);
      this.#mine.delete(basename(parent));
    } catch (cause) {
      const others = ["ENOTEMPTY", "EEXIST", "ENOENT"];
      if (!others.includes(errnoCode(cause) ?? "")) throw systemError(`remove "${parent}"`, cause);
    }
  }

  async openArchive(
    location: string,
    restore: OpenOptions & { readonly containerId: string },
    { signal }: Operation,
  ): Promise<OpenedCheckpoint> {
    return await this.#restoring(restore.containerId, () =>
      openArchive(this.#open, { name: location }, { ...restore, signal }),
    );
  }

  async openStream(
    archive: { readonly name: string; readonly chunks: AsyncIterable<Uint8Array> },
    restore: OpenOptions & { readonly containerId: string },
    { signal }: Operation,
  ): Promise<OpenedCheckpoint> {
    return await this.#restoring(restore.containerId, () =>
      openArchive(this.#open, archive, { ...restore, signal }),
    );
  }

  async openPod(
    directory: string,
    restore: OpenOptions & { readonly restoreId: string },
    { signal }: Operation,
  ): Promise<OpenedPodCheckpoint> {
    const { restoreId } = restore;
    const opened = await this.#restoring(restoreId, () =>
      openPod(this.#open, directory, { ...restore, signal }),
    );
    // A snapshot is used in place: there is nothing to discard.
    if (!opened.containers.some(({ owned }) => owned)) this.#mine.delete(restoreId);
    return opened;
  }

  /** Keeps a sweep from the directory of a restore until it is discarded, since its containers have no records yet. */
  async #restoring<Opened>(id: string, work: () => Promise<Opened>): Promise<Opened> {
    this.#mine.add(id);
    try {
      return await work();
    } catch (cause) {
      this.#mine.delete(id);
      throw cause;
    }
  }

  async sweep(known: KnownIds): Promise<readonly string[]> {
    const { captures, restores, partial } = this.#paths;
    const lines: string[] = [];
    for (const name of await namesIn(captures)) {
      const path = join(captures, name);
      if (!this.#mine.has(path)) await this.#sweepOne(path, "unfinished checkpoint", lines);
    }
    for (const name of await namesIn(restores)) {
      if (known.has(name) || this.#mine.has(name)) continue;
      await this.#sweepOne(join(restores, name), "restore of an unknown container", lines);
    }
    for (const name of await namesIn(partial)) {
      const note = join(partial, name);
      if (this.#mine.has(note)) continue;
      try {
        const line = await removePartial(await readFile(note, "utf8"), note);
        if (line !== undefined) lines.push(line);
      } catch (cause) {
        lines.push(`cannot remove the half-written archive of "${note}": ${messageOf(cause)}`);
      }
    }
    return lines;
  }

  async #sweepOne(path: string, what: string, lines: string[]): Promise<void> {
    try {
      await removeTree(path);
      lines.push(`removed ${what} "${path}"`);
    } catch (cause) {
      // A failure must not stop the daemon.
      lines.push(`cannot remove ${what} "${path}": ${messageOf(cause)}`);
    }
  }
}

async function podManifest(
  directory: string,
  { config, handler }: Sandbox,
  containers: readonly string[],
): Promise<PodManifest> {
  await using top = await OpenDirectory.open(directory);
  await using all = await top.directory(podCheckpointFiles.containers);
  const digests = new Map<string, Awaited<ReturnType<typeof digestText>>>();
  for (const name of containers) {
    await using each = await all.directory(containerDirectory(name));
    const text = await each.text(checkpointFiles.manifest, maxManifestBytes);
    if (text === undefined) {
      const what = `the checkpoint of container "${name}" is not complete`;
      throw new RuntimeError("failed-precondition", what);
    }
    digests.set(name, await digestText(text));
  }
  return {
    podName: config.metadata?.name ?? "",
    podNamespace: config.metadata?.namespace ?? "",
    runtimeHandler: handler.requested,
    capturedAtNs: BigInt(Date.now()) * 1_000_000n,
    config: toBinary(PodSandboxConfigSchema, config),
    containers: digests,
  };
}

/** Who can change the parent could put a link in the place of a directory that root writes into. */
async function checkParent(parent: string): Promise<void> {
  await mkdir(parent, { mode: 0o700 }).catch((cause: unknown) => {
    if (errnoCode(cause) !== "EEXIST") throw cause;
  });
  await using _directory = await OpenDirectory.open(parent);
  for (const path of [dirname(parent), parent]) {
    const { uid, mode } = await stat(path);
    if (uid === 0 && (mode & 0o022) === 0) continue;
    throw new RuntimeError(
      "permission-denied",
      `"${path}" can be changed by others than root: name a directory that is root's alone`,
    );
  }
}
