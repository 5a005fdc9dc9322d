import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { kindOf, messageOf, RuntimeError } from "../../../base/errors.ts";
import { markTransferable } from "../../../base/transferable.ts";
import { bytesOf } from "../../../base/unread-bytes.ts";
import type { BlobStream } from "../../../core/image/index.ts";
import { HostFailure } from "../failure.ts";
import type { ReceivedFile, ReceivedFiles } from "./receive.ts";

const pieceBytes = 256 * 1024;
/** Links that are followed from one name. */
const maxLinks = 8;

/** The files of a received archive. */
export class ArchiveContent {
  readonly #directory: string;
  readonly #received: ReceivedFiles;

  constructor(directory: string, received: ReceivedFiles) {
    this.#directory = directory;
    this.#received = received;
  }

  /** The file of this name, relative to the archive; links are followed in it. */
  find(name: string): ReceivedFile | undefined {
    const { files, links } = this.#received;
    let at = `/${name
      .split("/")
      .filter((part) => part !== "" && part !== ".")
      .join("/")}`;
    for (let followed = 0; followed <= maxLinks; followed++) {
      const file = files.get(at);
      if (file !== undefined) return file;
      const target = links.get(at);
      if (target === undefined) return undefined;
      at = target;
    }
    return undefined;
  }

  /** Like find(). `not-found` for a name that the archive does not have. */
  get(name: string, what: string): ReceivedFile {
    const file = this.find(name);
    if (file !== undefined) return file;
    throw unreadable("not-found", `it has no file ${JSON.stringify(name.slice(0, 200))}, ${what}`);
  }

  /** The bytes of a small file. `failed-precondition` for a larger one. */
  async read(file: ReceivedFile, what: string, maxBytes: number): Promise<Buffer> {
    return await readReceived(this.#directory, file, what, maxBytes);
  }

  /** The value of a JSON file. */
  async readJson(name: string, maxBytes: number): Promise<unknown> {
    const bytes = await this.read(this.get(name, "which it must have"), name, maxBytes);
    try {
      return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
    } catch {
      throw unreadable("invalid-argument", `its ${name} is not JSON`);
    }
  }
}

/** The bytes of a small file, its digest checked again. */
export async function readReceived(
  directory: string,
  file: ReceivedFile,
  what: string,
  maxBytes: number,
): Promise<Buffer> {
  if (file.sizeBytes > maxBytes) {
    throw unreadable(
      "failed-precondition",
      `its ${what} has ${file.sizeBytes} bytes, more than ${maxBytes}`,
    );
  }
  const parts: Uint8Array[] = [];
  await using stream = await openReceived(directory, file);
  for await (const part of stream.chunks) parts.push(await bytesOf(part));
  const bytes = Buffer.concat(parts);
  const found = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
  if (found === file.digest) return bytes;
  throw unreadable("data-loss", `its ${what} has changed on the disk`);
}

/** Opens a received file. */
export async function openReceived(directory: string, file: ReceivedFile): Promise<BlobStream> {
  const { O_RDONLY, O_NOFOLLOW } = constants;
  const handle = await open(join(directory, String(file.file)), O_RDONLY | O_NOFOLLOW);
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < file.sizeBytes; ) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(pieceBytes, file.sizeBytes - at));
      const { bytesRead } = await handle.read(chunk, 0, chunk.length, at);
      if (bytesRead === 0) throw unreadable("internal", `a file of it ends at byte ${at}`);
      at += bytesRead;
      markTransferable(chunk);
      yield chunk.subarray(0, bytesRead);
    }
  }
  return {
    sizeBytes: BigInt(file.sizeBytes),
    chunks: chunks(),
    [Symbol.asyncDispose]: () => handle.close(),
  };
}

/** The error about an archive. */
export function unreadable(kind: RuntimeError["kind"], what: string): RuntimeError {
  return new RuntimeError(kind, `read image archive: ${what}`);
}

/** The error about an archive for a failure of the parser of manifests, whose texts are about a registry. */
export function aboutArchive(error: unknown): Error {
  if (!(error instanceof HostFailure)) {
    return error instanceof Error ? error : new Error(messageOf(error));
  }
  const text = messageOf(error).replace(/^(sent|calls|has)\b/, (verb) =>
    verb === "sent" ? "has" : verb,
  );
  return unreadable(kindOf(error), `it ${text}`);
}
