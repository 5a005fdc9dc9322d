import { readdir, rename, rm, stat, statfs } from "node:fs/promises";
import { constants } from "node:fs";
import { join } from "node:path";
import { isCheckpointFile } from "../../base/checkpoint-names.ts";
import { messageOf, RuntimeError } from "../../base/errors.ts";
import { errnoCode } from "../../base/system-error.ts";
import { type CapturedContainer, checkpointFiles } from "../../core/checkpoint/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { ContainerChanges } from "../../core/snapshot/index.ts";
import { openRegular, removeTree } from "../../linux/file/index.ts";
import { specText } from "../../oci-spec/index.ts";
import { factsOf, formatConfigDump } from "./facts.ts";
import { createFile, digestFile, OpenDirectory, writeError } from "./files.ts";
import {
  type FileFacts,
  formatManifest,
  type Manifest,
  maxManifestBytes,
  noCode,
  parseManifest,
  sealedText,
} from "./manifest.ts";
import type { NodeSeal } from "./seal.ts";

/** What a completion needs. */
interface CompleteDeps {
  readonly changes: ContainerChanges;
  /** The largest checkpoint. Bytes. */
  readonly maxBytes: number;
}

/** The last part of a log that is kept. A log that kubelet rotates has 10 MiB. */
const maxLogBytes = 64 * 1024 * 1024;
/** Files that are digested at once: most are small, and a few have all of the memory. */
const parallelFiles = 4;

/** In the directory of a capture that is complete: its manifest, without the files, which are not digested yet. */
const unsealed = ".unsealed";

/** Completes a capture, without its manifest; see `Checkpoints.complete`. */
export async function completeCapture(
  { changes, maxBytes }: CompleteDeps,
  directory: string,
  captured: CapturedContainer,
  { signal, log }: Operation,
): Promise<void> {
  const doing = `complete the checkpoint of container "${captured.container.id}"`;
  try {
    await tidy(directory);
    const facts = factsOf(captured);
    await writeText(join(directory, checkpointFiles.spec), specText(captured.spec));
    const config = formatConfigDump(captured, facts);
    await writeText(join(directory, checkpointFiles.config), config);
    await writeChanges({ changes, maxBytes }, directory, { captured, signal });
    try {
      await copyLog(captured, join(directory, checkpointFiles.log), signal);
    } catch (cause) {
      // Nobody's state is in it, and a link in its place is no reason to lose the checkpoint.
      log.warn("the checkpoint has no log of its container", { error: messageOf(cause) });
    }
    await writeText(join(directory, unsealed), formatManifest({ facts, files: new Map() }, noCode));
  } catch (cause) {
    signal.throwIfAborted();
    throw await writeError(doing, directory, cause);
  }
}

/**
 * Writes the manifest of a capture that is complete, unless it has one. The container may run: gigabytes of memory are
 * read for it.
 */
export async function sealCapture(
  seal: NodeSeal,
  directory: string,
  signal: AbortSignal,
): Promise<void> {
  await using top = await OpenDirectory.open(directory);
  const text = await top.text(unsealed, maxManifestBytes);
  if (text === undefined) return;
  const { facts } = parseManifest(text);
  const manifest: Manifest = { facts, files: await digestAll(directory, signal) };
  const code = await seal.codeOf(sealedText(manifest));
  await writeText(join(directory, checkpointFiles.manifest), formatManifest(manifest, code));
  await rm(join(directory, unsealed));
}

/** Writes a file that must not exist. */
async function writeText(path: string, text: string): Promise<void> {
  await using file = await createFile(path);
  await file.writeFile(text);
}

/** Moves what CRIU wrote to its place, and removes what no checkpoint has, such as a configuration for CRIU. */
async function tidy(directory: string): Promise<void> {
  const images = join(directory, checkpointFiles.images);
  for (const name of [checkpointFiles.statistics, checkpointFiles.criuLog]) {
    try {
      await rename(join(images, name), join(directory, name));
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") throw cause;
    }
  }
  for (const name of await readdir(directory)) {
    const isLeft = [checkpointFiles.statistics, checkpointFiles.criuLog].includes(name as never);
    if (!isLeft && name !== checkpointFiles.images) await removeTree(join(directory, name));
  }
}

/** Files without content are not kept: a container that changed nothing has none. */
async function writeChanges(
  { changes, maxBytes }: Pick<CompleteDeps, "changes" | "maxBytes">,
  directory: string,
  { captured, signal }: { readonly captured: CapturedContainer; readonly signal: AbortSignal },
): Promise<void> {
  const { container, spec, earlierChanges: earlier } = captured;
  const paths = [checkpointFiles.changes, checkpointFiles.deleted].map((n) => join(directory, n));
  const [archivePath = "", deletedPath = ""] = paths;
  const { uidMappings: uids = [], gidMappings: gids = [] } = spec.linux;
  // That of the earlier changes is the highest one.
  const layers = container.image.layers.slice(0, earlier === undefined ? undefined : -1);
  const request = { containerId: container.id, layers, earlier, uids, gids };
  const { bavail, bsize } = await statfs(directory);
  {
    await using archive = await createFile(archivePath);
    await using deleted = await createFile(deletedPath);
    const most = Math.min(maxBytes, bavail * bsize);
    await changes.write(
      request,
      { archive: archive.fd, deleted: deleted.fd, maxBytes: most },
      signal,
    );
  }
  const [archived, listed] = await Promise.all(paths.map(async (path) => (await stat(path)).size));
  const isUnchanged = archived === emptyArchiveBytes && listed === emptyListBytes;
  if (isUnchanged) for (const path of paths) await rm(path);
}

/** The end of an archive alone; an empty list and a newline. */
const [emptyArchiveBytes, emptyListBytes] = [1024, 3];

/** Copies the last part of a log, from the beginning of a line on. */
async function copyLog(
  { container }: CapturedContainer,
  path: string,
  signal: AbortSignal,
): Promise<void> {
  if (!container.hasLog) return;
  const doing = `read log "${container.logPath}"`;
  await using from = await openRegular(container.logPath, constants.O_RDONLY, doing);
  await using to = await createFile(path);
  const { size } = await from.stat();
  const piece = Buffer.allocUnsafe(1024 * 1024);
  let isCut = size > maxLogBytes;
  for (let at = isCut ? size - maxLogBytes : 0; at < size; ) {
    signal.throwIfAborted();
    const { bytesRead } = await from.read(piece, 0, Math.min(piece.length, size - at), at);
    if (bytesRead === 0) break;
    const start = isCut ? piece.subarray(0, bytesRead).indexOf("\n") + 1 : 0;
    isCut = isCut && start === 0;
    if (!isCut) await to.write(piece, start, bytesRead - start);
    at += bytesRead;
  }
}

/** What describes the files is not described itself. */
const notDigested: ReadonlySet<string> = new Set([
  checkpointFiles.images,
  checkpointFiles.manifest,
  unsealed,
]);

/** Size and digest of all files. `internal` for what no checkpoint has: CRIU would not find it again. */
async function digestAll(
  directory: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, FileFacts>> {
  const found = new Map<string, FileFacts>();
  await using top = await OpenDirectory.open(directory);
  await using images = await top.directory(checkpointFiles.images);
  const inImages = await readdir(join(directory, checkpointFiles.images));
  const names = [
    ...inImages.map((name) => `${checkpointFiles.images}/${name}`),
    ...(await readdir(directory)).filter((name) => !notDigested.has(name)),
  ];
  const rest = names.values();
  const work = async (): Promise<void> => {
    for (const name of rest) {
      if (!isCheckpointFile(name)) {
        throw new RuntimeError("internal", `"${name}" is not a file of a checkpoint`);
      }
      const [base = "", image] = name.split("/");
      await using file = await (image === undefined ? top.file(base) : images.file(image));
      await file.chmod(0o600);
      found.set(name, await digestFile(file, { signal }));
    }
  };
  await Promise.all(Array.from({ length: parallelFiles }, work));
  return found;
}
