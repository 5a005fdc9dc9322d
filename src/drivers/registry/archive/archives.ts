import { randomUUID } from "node:crypto";
import { mkdir, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../../base/digest.ts";
import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { Semaphore } from "../../../base/semaphore.ts";
import { errnoCode, systemError } from "../../../base/system-error.ts";
import type {
  ArchivedImage,
  ArchiveOptions,
  BlobStream,
  Descriptor,
  ImageArchive,
  ImageArchives,
  RootFsConfig,
} from "../../../core/image/index.ts";
import { removeTree } from "../../../linux/file/index.ts";
import type { OwnProgram } from "../../../linux/process/index.ts";
import { digestOf } from "../manifest.ts";
import { type Platform, thisPlatform } from "../platform.ts";
import { ArchiveContent, openReceived, readReceived, unreadable } from "./content.ts";
import { readDockerArchive } from "./docker-archive.ts";
import { readOciLayout } from "./oci-layout.ts";
import {
  defaultArchiveCommand,
  type ReceivedFile,
  type ReceivedFiles,
  type ReceivedRoot,
  receiveArchive,
} from "./receive.ts";

/** Archives that are received at once: each has a process, and may be as large as the disk. */
const atOnce = 4;
const maxConfigBytes = 8 * 1024 * 1024;

/** What the archives need. */
interface ArchivesDeps {
  /** The root of the configuration: archives are received in a directory of it, where the layers are. */
  readonly root: string;
  readonly log: Logger;
  /** The platform whose images are chosen. This machine's, if not given. */
  readonly platform?: Platform;
  readonly command?: OwnProgram;
  /** How long the reader of an archive may make no progress, 300 s if not given. */
  readonly stallMs?: number;
}

/** Archives in `<root>/archives/<uuid>`, each until it is disposed of. */
export class Archives implements ImageArchives {
  readonly #deps: ArchivesDeps;
  readonly #directory: string;
  readonly #turns = new Semaphore(atOnce);
  readonly #open = new Set<string>();

  constructor(deps: ArchivesDeps) {
    this.#deps = deps;
    this.#directory = join(deps.root, "archives");
  }

  async open(
    chunks: AsyncIterable<Uint8Array>,
    options: ArchiveOptions,
    signal: AbortSignal,
  ): Promise<ImageArchive> {
    await using undo = new AsyncDisposableStack();
    undo.use(await this.#turns.acquire(signal));
    const directory = await this.#makeDirectory();
    undo.defer(() => this.#remove(directory));
    const { command = defaultArchiveCommand(), root, stallMs = 300_000 } = this.#deps;
    const mode = options.rootFs === undefined ? "read" : "root";
    const sent = { chunks, signal, command, mode, directory, disk: root, stallMs } as const;
    const received = await receiveArchive(sent);
    const { platform = thisPlatform() } = this.#deps;
    const archive =
      received.kind === "root"
        ? rootArchive(directory, received, { config: options.rootFs, platform })
        : await imagesArchive(directory, received, platform);
    const kept = undo.move();
    return { ...archive, [Symbol.asyncDispose]: () => kept.disposeAsync() };
  }

  /** Removes what an earlier daemon received. */
  async sweep(): Promise<void> {
    let names: readonly string[] = [];
    try {
      names = await readdir(this.#directory);
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") throw systemError(`read "${this.#directory}"`, cause);
    }
    for (const name of names) {
      const path = join(this.#directory, name);
      if (!this.#open.has(path)) await this.#remove(path);
    }
  }

  async #makeDirectory(): Promise<string> {
    const directory = join(this.#directory, randomUUID());
    this.#open.add(directory);
    try {
      await mkdir(directory, { recursive: true, mode: 0o700 });
    } catch (cause) {
      this.#open.delete(directory);
      throw systemError(`make directory "${directory}"`, cause);
    }
    return directory;
  }

  /** If this fails, the sweep of the next start removes the directory. */
  async #remove(directory: string): Promise<void> {
    try {
      await removeTree(directory);
    } catch (cause) {
      this.#deps.log.warn(`cannot remove received archive "${directory}": ${messageOf(cause)}`);
    } finally {
      this.#open.delete(directory);
    }
  }
}

type Opened = Omit<ImageArchive, typeof Symbol.asyncDispose>;

async function imagesArchive(
  directory: string,
  received: ReceivedFiles,
  platform: Platform,
): Promise<Opened> {
  const content = new ArchiveContent(directory, received);
  const images = await readImages(content, platform);
  // The newest archives have both, and the names are complete in manifest.json only.
  const byDigest = new Map<Digest, ReceivedFile>();
  for (const file of received.files.values()) byDigest.set(file.digest, file);
  return openedArchive(directory, images, byDigest);
}

async function readImages(
  content: ArchiveContent,
  platform: Platform,
): Promise<readonly ArchivedImage[]> {
  if (content.find("manifest.json") !== undefined) return await readDockerArchive(content);
  if (content.find("index.json") !== undefined) return await readOciLayout(content, platform);
  throw unreadable(
    "invalid-argument",
    "it is neither a docker archive nor an OCI layout: it has no manifest.json and no index.json; " +
      'the archive of a root file system is loaded by "davit import"',
  );
}

/** The image of a root file system. Its id depends only on the archive and the configuration. */
function rootArchive(
  directory: string,
  { blob, diffId }: ReceivedRoot,
  { config, platform }: { config: RootFsConfig | undefined; platform: Platform },
): Opened {
  const bytes = Buffer.from(JSON.stringify(rootConfig(config, diffId, platform)));
  const layerType = "application/vnd.oci.image.layer.v1.tar";
  const layer = { mediaType: layerType, digest: blob.digest, sizeBytes: BigInt(blob.sizeBytes) };
  const image: ArchivedImage = {
    names: [],
    digest: undefined,
    config: {
      mediaType: "application/vnd.oci.image.config.v1+json",
      digest: digestOf(bytes),
      sizeBytes: BigInt(bytes.length),
    },
    layers: [layer],
  };
  const archive = openedArchive(directory, [image], new Map([[blob.digest, blob]]));
  return { ...archive, config: () => Promise.resolve(bytes) };
}

/** An image config (image-spec, config.md). */
function rootConfig(config: RootFsConfig | undefined, diffId: Digest, platform: Platform): object {
  const { entrypoint = [], cmd = [], env = [], workingDir = "", user = "" } = config ?? {};
  const { os, architecture, variant } = platform;
  return {
    architecture,
    ...(variant === "" ? {} : { variant }),
    os,
    config: {
      ...(user === "" ? {} : { User: user }),
      ...(env.length === 0 ? {} : { Env: env }),
      ...(entrypoint.length === 0 ? {} : { Entrypoint: entrypoint }),
      ...(cmd.length === 0 ? {} : { Cmd: cmd }),
      ...(workingDir === "" ? {} : { WorkingDir: workingDir }),
    },
    rootfs: { type: "layers", diff_ids: [diffId] },
    history: [{ comment: "imported from a root file system" }],
  };
}

function openedArchive(
  directory: string,
  images: readonly ArchivedImage[],
  byDigest: ReadonlyMap<Digest, ReceivedFile>,
): Opened {
  const fileOf = ({ digest }: Descriptor): ReceivedFile => {
    const file = byDigest.get(digest);
    if (file === undefined) throw unreadable("not-found", `it has no blob ${digest}`);
    return file;
  };
  return {
    images,
    config: ({ config }) => readReceived(directory, fileOf(config), "config", maxConfigBytes),
    blob: (descriptor): Promise<BlobStream> => openReceived(directory, fileOf(descriptor)),
  };
}
