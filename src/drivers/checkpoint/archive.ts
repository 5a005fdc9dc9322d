import { randomUUID } from "node:crypto";
import { link, lstat, mkdir, open, rm, statfs } from "node:fs/promises";
import { basename, dirname, isAbsolute, join } from "node:path";
import { RuntimeError } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import { errnoCode } from "../../base/system-error.ts";
import { checkpointFiles, podCheckpointFiles } from "../../core/checkpoint/index.ts";
import { describeFullDisk } from "../../linux/host/index.ts";
import type { OwnProgram } from "../../linux/process/index.ts";
import { sealCapture } from "./complete.ts";
import { createFile, OpenDirectory, writeError } from "./files.ts";
import type { CheckpointLayout } from "./layout.ts";
import { maxManifestBytes, parseManifest, parsePodManifest } from "./manifest.ts";
import { runArchiveProgram } from "./programs.ts";
import type { NodeSeal } from "./seal.ts";

/** What an archive needs. */
interface ArchiveDeps {
  readonly paths: CheckpointLayout;
  readonly seal: NodeSeal;
  readonly program: OwnProgram | undefined;
  /** The notes of archives that this daemon is writing. */
  readonly mine: Set<string>;
}

/** A file or, with size 0 and a `/` at its end, a directory. */
interface Entry {
  readonly name: string;
  readonly size: number;
}

/** The headers of an entry, and its padding, have about as many bytes. */
const entryBytes = 2048;

/** The names of archives while they are written. */
const partialName = /^\.davit-[0-9a-f-]{36}\.partial$/;

/**
 * Writes an archive; see `Checkpoints.archive`. It gets its name when it is complete and on the disk, so that nobody
 * finds a part of one there. Its path until then is noted, and what a daemon leaves that ends before is removed by the
 * next one.
 */
export async function writeArchive(
  { paths, seal, program, mine }: ArchiveDeps,
  directory: string,
  { location, signal }: { readonly location: string; readonly signal: AbortSignal },
): Promise<void> {
  const doing = `write checkpoint to ${quote(location)}`;
  if (!isAbsolute(location) || location.includes("\0")) {
    throw new RuntimeError("invalid-argument", `${doing}: it must be an absolute path`);
  }
  const at = dirname(location);
  const part = join(at, `.davit-${randomUUID()}.partial`);
  try {
    await refuseExisting(location, doing);
    await sealCapture(seal, directory, signal);
    const entries = await entriesOf(directory);
    await refuseFull(at, entries, doing);
    await using _note = await noteOf(paths, part, mine);
    await using undo = new AsyncDisposableStack();
    await using file = await createFile(part);
    undo.defer(() => rm(part, { force: true }));
    await runArchiveProgram({
      program,
      args: ["files"],
      limits: { confinement: "packer", root: directory },
      streams: { stdout: file.fd },
      input: JSON.stringify({ entries }),
      signal,
    });
    await file.sync();
    signal.throwIfAborted();
    // Unlike a rename, it never replaces a file or follows a link.
    await link(part, location);
    await using names = await open(at);
    await names.sync();
  } catch (cause) {
    signal.throwIfAborted();
    if (errnoCode(cause) === "EEXIST") throw existing(doing);
    throw await writeError(doing, at, cause);
  }
}

/** Removes what archives of earlier daemons left, by their notes; a line for each. */
export async function removePartial(path: string, note: string): Promise<string | undefined> {
  await rm(note, { force: true });
  // A note is root's own, and so is every name in it; but this is the last look before a removal.
  if (!isAbsolute(path) || !partialName.test(basename(path))) return undefined;
  try {
    await rm(path);
    return `removed half-written archive "${path}"`;
  } catch (cause) {
    if (["ENOENT", "ENOTDIR"].includes(errnoCode(cause) ?? "")) return undefined;
    throw cause;
  }
}

async function noteOf(
  paths: CheckpointLayout,
  part: string,
  mine: Set<string>,
): Promise<AsyncDisposable> {
  await mkdir(paths.partial, { recursive: true, mode: 0o700 });
  const path = join(paths.partial, randomUUID());
  mine.add(path);
  {
    await using file = await createFile(path);
    await file.writeFile(part);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      await rm(path, { force: true });
      mine.delete(path);
    },
  };
}

async function refuseExisting(location: string, doing: string): Promise<void> {
  try {
    await lstat(location);
  } catch (cause) {
    if (errnoCode(cause) === "ENOENT") return;
    throw cause;
  }
  throw existing(doing);
}

function existing(doing: string): RuntimeError {
  const text = `${doing}: a file with this name exists; remove it, or name another one`;
  return new RuntimeError("already-exists", text);
}

/** Before anything is written, since the archive of a large process takes a while. */
async function refuseFull(at: string, entries: readonly Entry[], doing: string): Promise<void> {
  const needed = entries.reduce((sum, { size }) => sum + size + entryBytes, 0);
  const space = await statfs(at);
  const free = space.bavail * space.bsize;
  if (needed <= free) return;
  const why = `it needs ${needed} bytes, and ${describeFullDisk(at, space)}`;
  throw new RuntimeError("resource-exhausted", `${doing}: ${why} (${free} bytes free)`);
}

/** All files of a checkpoint of a container or of a pod, by its manifests, and these themselves. */
export async function entriesOf(directory: string): Promise<readonly Entry[]> {
  await using top = await OpenDirectory.open(directory);
  const pod = await top.text(podCheckpointFiles.manifest, maxManifestBytes);
  if (pod === undefined) return await entriesOfContainer(top, "");
  const { manifest, containers } = podCheckpointFiles;
  const entries: Entry[] = [
    { name: manifest, size: Buffer.byteLength(pod) },
    { name: `${containers}/`, size: 0 },
  ];
  await using all = await top.directory(containers);
  for (const name of parsePodManifest(pod).containers.keys()) {
    await using each = await all.directory(name);
    const prefix = `${containers}/${name}/`;
    entries.push({ name: prefix, size: 0 }, ...(await entriesOfContainer(each, prefix)));
  }
  return entries;
}

/** The manifest is the first file, so that a reader can begin with it. */
async function entriesOfContainer(
  directory: OpenDirectory,
  prefix: string,
): Promise<readonly Entry[]> {
  const text = await directory.text(checkpointFiles.manifest, maxManifestBytes);
  if (text === undefined) {
    throw new RuntimeError("failed-precondition", "write checkpoint: it was not completed");
  }
  const { files } = parseManifest(text);
  const named = [...files].map(([name, { size }]) => ({ name: `${prefix}${name}`, size }));
  const isImage = ({ name }: Entry): boolean =>
    name.startsWith(`${prefix}${checkpointFiles.images}/`);
  return [
    { name: `${prefix}${checkpointFiles.manifest}`, size: Buffer.byteLength(text) },
    ...named.filter((each) => !isImage(each)),
    { name: `${prefix}${checkpointFiles.images}/`, size: 0 },
    ...named.filter(isImage),
  ];
}
