import { mkdir } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { RuntimeError, wrap } from "../../base/errors.ts";
import { quote } from "../../base/quote.ts";
import {
  type CheckpointFacts,
  checkpointFiles,
  type CheckpointTrust,
  type OpenedCheckpoint,
  type OpenedPodCheckpoint,
  type OpenOptions,
  podCheckpointFiles,
} from "../../core/checkpoint/index.ts";
import { removeTree } from "../../linux/file/index.ts";
import { DiskHeadroom } from "../../linux/host/index.ts";
import type { OwnProgram } from "../../linux/process/index.ts";
import type { ChangesLayers } from "./changes-layer.ts";
import { type ArchiveSource, extract } from "./extract.ts";
import { foreignFacts } from "./facts.ts";
import { checkFile, createFile, digestFile, digestText, OpenDirectory } from "./files.ts";
import type { CheckpointLayout } from "./layout.ts";
import {
  type FileFacts,
  type Manifest,
  maxManifestBytes,
  parseManifest,
  parsePodManifest,
  sealOf,
} from "./manifest.ts";
import type { NodeSeal } from "./seal.ts";
import { checkTrust, refuseUnsealed } from "./trust.ts";

/** What a restore needs. */
export interface OpenDeps {
  readonly paths: CheckpointLayout;
  readonly seal: NodeSeal;
  readonly changes: ChangesLayers;
  readonly maxBytes: number;
  readonly program: OwnProgram | undefined;
}

/** CRIU reads it first; without it there is nothing to restore. */
const inventory = `${checkpointFiles.images}/inventory.img`;
const maxDumpBytes = 16 * 1024 * 1024;
const parallelFiles = 4;

/** See `Checkpoints.openArchive` and, for one with `chunks`, `Checkpoints.openStream`. */
export async function openArchive(
  deps: OpenDeps,
  archive: ArchiveSource,
  {
    containerId,
    trust,
    hold,
    signal,
  }: OpenOptions & { readonly containerId: string; readonly signal: AbortSignal },
): Promise<OpenedCheckpoint> {
  const doing = `open checkpoint ${quote(archive.name)}`;
  if (archive.chunks === undefined) refuseRelative(archive.name, doing);
  await using made = await makeRestore(deps.paths, containerId);
  const { directory } = made;
  try {
    const { program, maxBytes } = deps;
    const names = await extract({ program, archive, directory, maxBytes, signal });
    await using top = await OpenDirectory.open(directory);
    const manifest = await readManifest(top, { deps, trust });
    const files = await digestAll(top, names, signal);
    if (manifest !== undefined) compare(files, manifest.files);
    const facts = manifest?.facts ?? (await readForeignFacts(top));
    refuseWithoutImages(files);
    const work = join(directory, ".layer");
    const changes = await deps.changes.make({ directory, files, work }, hold, signal);
    made.keep();
    return { facts, directory, changes, owned: true };
  } catch (cause) {
    signal.throwIfAborted();
    throw wrap(doing, cause);
  }
}

/** See `Checkpoints.openPod`. */
export async function openPod(
  deps: OpenDeps,
  directory: string,
  {
    restoreId,
    trust,
    hold,
    signal,
  }: OpenOptions & { readonly restoreId: string; readonly signal: AbortSignal },
): Promise<OpenedPodCheckpoint> {
  const doing = `open checkpoint ${quote(directory)}`;
  refuseRelative(directory, doing);
  await using made = await makeRestore(deps.paths, restoreId);
  try {
    await using top = await OpenDirectory.open(directory);
    const text = await top.text(podCheckpointFiles.manifest, maxManifestBytes);
    if (text === undefined) {
      const what = `it has no "${podCheckpointFiles.manifest}": it is not a checkpoint of a pod, or not a complete one`;
      throw new RuntimeError("invalid-argument", what);
    }
    const isOwn = await checkTrust(sealOf("pod", text), trust, deps.seal);
    const manifest = parsePodManifest(text);
    await using all = await top.directory(podCheckpointFiles.containers);
    const containers: OpenedCheckpoint[] = [];
    // Root's own directory, which nobody else can change: several restores share what is in it.
    const isShared = isOwn && dirname(directory) === deps.paths.snapshots;
    const room = { bytes: deps.maxBytes };
    for (const [name, digest] of manifest.containers) {
      await using from = await all.directory(name);
      const own = join(directory, podCheckpointFiles.containers, name);
      const to = join(made.directory, name);
      const where = isShared ? { own, to } : { to };
      const opened = { from, name, digest, trust, hold, where, room, signal };
      containers.push(await openContainer(deps, opened));
    }
    if (!isShared) made.keep();
    return { config: isOwn ? manifest.config : undefined, containers };
  } catch (cause) {
    signal.throwIfAborted();
    throw wrap(doing, cause);
  }
}

/** How the files of a checkpoint are checked. */
export interface CheckOptions {
  /** All of its files, as paths below its directory. */
  readonly names: readonly string[];
  readonly trust: CheckpointTrust;
  readonly signal: AbortSignal;
}

/**
 * Checks the files of a pod's checkpoint in a directory of root's own, of which `names` are all: codes, and the digest of
 * each file. Errors as `Checkpoints.openPod`.
 */
export async function checkPod(
  deps: Pick<OpenDeps, "seal">,
  directory: string,
  how: CheckOptions,
): Promise<void> {
  const { names, trust, signal } = how;
  await using top = await OpenDirectory.open(directory);
  const text = await top.text(podCheckpointFiles.manifest, maxManifestBytes);
  if (text === undefined) {
    const what = `it has no "${podCheckpointFiles.manifest}": it is not a checkpoint of a pod`;
    throw new RuntimeError("invalid-argument", what);
  }
  await checkTrust(sealOf("pod", text), trust, deps.seal);
  const { containers } = parsePodManifest(text);
  await using all = await top.directory(podCheckpointFiles.containers);
  const left = new Set(names);
  left.delete(podCheckpointFiles.manifest);
  for (const [name, digest] of containers) {
    const prefix = `${podCheckpointFiles.containers}/${name}/`;
    const own = names.filter((each) => each.startsWith(prefix));
    await using from = await all.directory(name);
    const manifest = await readManifest(from, { deps, trust, digest });
    if (manifest === undefined || manifest.facts.name !== name) {
      const what = `container "${name}" has no manifest, or that of another container`;
      throw new RuntimeError("data-loss", what);
    }
    const files = own.map((each) => each.slice(prefix.length));
    await checkFiles(from, files, manifest, signal);
    for (const each of own) left.delete(each);
  }
  const [other] = left;
  if (other === undefined) return;
  throw new RuntimeError("data-loss", `"${other}" was added to it after it was made`);
}

/** Checks the files of a container's checkpoint, of which `names` are all, against its manifest. */
export async function checkFiles(
  from: OpenDirectory,
  names: readonly string[],
  manifest: Manifest,
  signal: AbortSignal,
): Promise<void> {
  refuseWithoutImages(manifest.files);
  compare(await digestAll(from, names, signal), manifest.files);
}

interface ContainerSource extends OpenOptions {
  readonly from: OpenDirectory;
  readonly name: string;
  /** Of its manifest, as the pod's says. */
  readonly digest: string;
  /** The directory to use in place, if it can be; and one to copy it to. */
  readonly where: { readonly own?: string; readonly to: string };
  /** How many bytes all containers of the pod may have together. */
  readonly room: { bytes: number };
  readonly signal: AbortSignal;
}

async function openContainer(deps: OpenDeps, source: ContainerSource): Promise<OpenedCheckpoint> {
  const { from, name, digest, trust, hold, where, room, signal } = source;
  const manifest = await readManifest(from, { deps, trust, digest });
  if (manifest === undefined || manifest.facts.name !== name) {
    const text = `container "${name}" has no manifest, or that of another container`;
    throw new RuntimeError("data-loss", text);
  }
  const { facts, files } = manifest;
  refuseWithoutImages(files);
  for (const { size } of files.values()) room.bytes -= size;
  if (room.bytes < 0) throw tooLarge(deps.maxBytes);
  const { own, to } = where;
  if (own !== undefined) await compareSizes(from, files);
  else await copyAll(from, { to, files, signal });
  const directory = own ?? to;
  const work = `${to}.layer`;
  const changes = await deps.changes.make({ directory, files, work }, hold, signal);
  return { facts, directory, changes, owned: own === undefined };
}

/**
 * The manifest of a container, once its code was checked, and its digest where `digest` says it; undefined if there is
 * none and none is needed. Of a checkpoint that this node did not make, the config is left out.
 */
async function readManifest(
  from: OpenDirectory,
  how: ManifestSource,
): Promise<Manifest | undefined> {
  const read = await readSealed(from, how);
  if (read === undefined || read.isOwn) return read?.manifest;
  const { facts, files } = read.manifest;
  return { files, facts: { ...facts, config: undefined, podConfig: undefined } };
}

interface ManifestSource {
  readonly deps: Pick<OpenDeps, "seal">;
  readonly trust: CheckpointTrust;
  readonly digest?: string;
}

/** As readManifest(), with the config in any case. */
export async function readSealed(
  from: OpenDirectory,
  { deps, trust, digest }: ManifestSource,
): Promise<{ readonly manifest: Manifest; readonly isOwn: boolean } | undefined> {
  const text = await from.text(checkpointFiles.manifest, maxManifestBytes);
  if (text === undefined) {
    refuseUnsealed(trust);
    return undefined;
  }
  if (digest !== undefined && (await digestText(text)) !== digest) {
    const what = `"${checkpointFiles.manifest}" of a container is not the one that the pod's checkpoint was made with`;
    throw new RuntimeError("data-loss", what);
  }
  const isOwn = await checkTrust(sealOf("container", text), trust, deps.seal);
  return { manifest: parseManifest(text), isOwn };
}

async function readForeignFacts(from: OpenDirectory): Promise<CheckpointFacts> {
  const [config, spec] = [
    await from.text(checkpointFiles.config, maxDumpBytes),
    await from.text(checkpointFiles.spec, maxDumpBytes),
  ];
  if (config !== undefined && spec !== undefined) return foreignFacts(config, spec);
  const text = `it has no "${config === undefined ? checkpointFiles.config : checkpointFiles.spec}": it is not a checkpoint of a container`;
  throw new RuntimeError("invalid-argument", text);
}

/** Size and digest of each file but the manifest. */
async function digestAll(
  top: OpenDirectory,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, FileFacts>> {
  const found = new Map<string, FileFacts>();
  await using images = await top.directory(checkpointFiles.images);
  const others = names.filter((name) => name !== checkpointFiles.manifest);
  await eachFile(others, async (name) => {
    await using file = await fileIn({ top, images }, name);
    found.set(name, await digestFile(file, { signal }));
  });
  return found;
}

/** `data-loss` unless there are just the files of the manifest, as it says. */
function compare(
  found: ReadonlyMap<string, FileFacts>,
  said: ReadonlyMap<string, FileFacts>,
): void {
  for (const [name, facts] of said) {
    const file = found.get(name);
    if (file === undefined) throw new RuntimeError("data-loss", `"${name}" is missing in it`);
    checkFile(name, file, facts);
  }
  for (const name of found.keys()) {
    if (said.has(name)) continue;
    throw new RuntimeError("data-loss", `"${name}" was added to it after it was made`);
  }
}

/** Copies the files of a manifest; what is digested is what was written. */
async function copyAll(
  from: OpenDirectory,
  {
    to,
    files,
    signal,
  }: {
    readonly to: string;
    readonly files: ReadonlyMap<string, FileFacts>;
    readonly signal: AbortSignal;
  },
): Promise<void> {
  await mkdir(join(to, checkpointFiles.images), { recursive: true, mode: 0o700 });
  await using images = await from.directory(checkpointFiles.images);
  const room = new DiskHeadroom(to);
  await eachFile([...files.keys()], async (name) => {
    const said = files.get(name);
    if (said === undefined) return;
    await room.reserve(to, said.size, 1);
    await using file = await fileIn({ top: from, images }, name);
    await using copy = await createFile(join(to, name));
    checkFile(name, await digestFile(file, { signal, copy, maxBytes: said.size }), said);
  });
}

/** The digests of a snapshot were checked when it was kept. */
async function compareSizes(
  from: OpenDirectory,
  files: ReadonlyMap<string, FileFacts>,
): Promise<void> {
  await using images = await from.directory(checkpointFiles.images);
  await eachFile([...files.keys()], async (name) => {
    const said = files.get(name);
    await using file = await fileIn({ top: from, images }, name);
    const { size } = await file.stat();
    if (said !== undefined) checkFile(name, { ...said, size }, said);
  });
}

async function fileIn(
  { top, images }: { readonly top: OpenDirectory; readonly images: OpenDirectory },
  name: string,
) {
  const [base = "", image] = name.split("/");
  return await (image === undefined ? top.file(base) : images.file(image));
}

async function eachFile(
  names: readonly string[],
  work: (name: string) => Promise<void>,
): Promise<void> {
  const rest = names.values();
  const some = async (): Promise<void> => {
    for (const name of rest) await work(name);
  };
  const done = await Promise.allSettled(Array.from({ length: parallelFiles }, some));
  for (const each of done) if (each.status === "rejected") throw each.reason;
}

function refuseWithoutImages(files: ReadonlyMap<string, FileFacts>): void {
  if (files.has(inventory)) return;
  const text = `it has no "${inventory}": it is not a checkpoint with the memory of a container`;
  throw new RuntimeError("invalid-argument", text);
}

function refuseRelative(path: string, doing: string): void {
  if (isAbsolute(path) && !path.includes("\0")) return;
  throw new RuntimeError("invalid-argument", `${doing}: it must be an absolute path`);
}

function tooLarge(maxBytes: number): RuntimeError {
  const text = `it has more than ${maxBytes} bytes ([checkpoint] max_bytes)`;
  return new RuntimeError("failed-precondition", text);
}

/** A new directory, which is removed unless it is kept. */
async function makeRestore(
  paths: CheckpointLayout,
  id: string,
): Promise<{ readonly directory: string; keep(): void } & AsyncDisposable> {
  const directory = paths.restore(id);
  await mkdir(paths.restores, { recursive: true, mode: 0o700 });
  await mkdir(directory, { mode: 0o700 });
  let isKept = false;
  return {
    directory,
    keep: () => {
      isKept = true;
    },
    [Symbol.asyncDispose]: async () => {
      if (!isKept) await removeTree(directory);
    },
  };
}
