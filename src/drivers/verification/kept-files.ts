import { createHash, randomUUID } from "node:crypto";
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, hexOf } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { errnoCode } from "../../base/system-error.ts";
import type {
  Descriptor,
  FoundSignature,
  KeptVerification,
  KeptVerifications,
} from "../../core/image/index.ts";

// Of one image and repository. What is beyond it is asked from the registry again, if it matters.
const maxFileBytes = 2 * 1024 * 1024;
const version = 1;

/** What is kept, as files: a directory for each image, and in it one file for each repository. */
export class KeptFiles implements KeptVerifications {
  readonly #directory: string;
  readonly #log: Logger;

  constructor(directory: string, log: Logger) {
    this.#directory = directory;
    this.#log = log;
  }

  async load(image: Digest, repository: string): Promise<KeptVerification | undefined> {
    const file = this.#fileOf(image, repository);
    try {
      return parse(await readFile(file, "utf8"));
    } catch (error) {
      if (errnoCode(error) !== "ENOENT") {
        this.#log.warn("ignored kept signatures", { image, error: messageOf(error) });
      }
      return undefined;
    }
  }

  async save(image: Digest, repository: string, kept: KeptVerification): Promise<void> {
    const file = this.#fileOf(image, repository);
    // A name of its own: two pulls of an image may end at the same time.
    const draft = `${file}.${randomUUID()}`;
    try {
      await mkdir(this.#ofImage(image), { recursive: true, mode: 0o700 });
      await writeFile(draft, format(kept), { mode: 0o600, flush: true });
      await rename(draft, file);
    } catch (error) {
      await rm(draft, { force: true }).catch(() => undefined);
      this.#log.warn("cannot keep signatures", { image, error: messageOf(error) });
    }
  }

  async remove(image: Digest): Promise<void> {
    try {
      await rm(this.#ofImage(image), { recursive: true, force: true });
    } catch (error) {
      this.#log.warn("cannot remove kept signatures", { image, error: messageOf(error) });
    }
  }

  async sweep(images: ReadonlySet<Digest>): Promise<void> {
    const known = new Set([...images].map(hexOf));
    try {
      for (const name of await readdir(this.#directory)) {
        if (!known.has(name))
          await rm(join(this.#directory, name), { recursive: true, force: true });
      }
    } catch (error) {
      if (errnoCode(error) === "ENOENT") return;
      this.#log.warn("cannot remove kept signatures", { error: messageOf(error) });
    }
  }

  #ofImage(image: Digest): string {
    return join(this.#directory, hexOf(image));
  }

  #fileOf(image: Digest, repository: string): string {
    const name = createHash("sha256").update(repository).digest("hex");
    return join(this.#ofImage(image), `${name}.json`);
  }
}

function format({ target, manifest, signatures, isSigned }: KeptVerification): string {
  const kept: string[] = [];
  let room = maxFileBytes;
  for (const signature of signatures) {
    const text = JSON.stringify(asJson(signature));
    room -= text.length;
    if (room < 0) break;
    kept.push(text);
  }
  const head = JSON.stringify({ version, target, manifest, isSigned }, (_, value: unknown) =>
    typeof value === "bigint" ? Number(value) : value,
  );
  return `${head.slice(0, -1)},"signatures":[${kept.join(",")}]}\n`;
}

function asJson(signature: FoundSignature): object {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  if (signature.kind === "simple-signing") {
    return { ...signature, payload: base64(signature.payload) };
  }
  const { artifact } = signature;
  return artifact === undefined ? signature : { ...signature, artifact: base64(artifact) };
}

type Json = Readonly<Record<string, unknown>>;

/** The file is davit's own: a wrong one is an error, and not examined further. */
function parse(text: string): KeptVerification {
  const raw = JSON.parse(text) as Json;
  if (raw["version"] !== version) throw new Error("they are of another version of davit");
  const signatures = (raw["signatures"] as readonly Json[]).map((each) => {
    const bytes = (value: unknown): Uint8Array => Buffer.from(String(value), "base64");
    if (each["kind"] === "simple-signing") return { ...each, payload: bytes(each["payload"]) };
    return "artifact" in each ? { ...each, artifact: bytes(each["artifact"]) } : each;
  });
  return {
    target: descriptorOf(raw["target"] as Json),
    manifest: descriptorOf(raw["manifest"] as Json),
    signatures: signatures as unknown as readonly FoundSignature[],
    isSigned: raw["isSigned"] === true,
  };
}

function descriptorOf({ mediaType, digest, sizeBytes }: Json): Descriptor {
  return {
    mediaType: String(mediaType),
    digest: digest as Digest,
    sizeBytes: BigInt(Number(sizeBytes)),
  };
}
