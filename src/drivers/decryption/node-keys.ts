import { messageOf, RuntimeError } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import { quote } from "../../base/quote.ts";
import { Semaphore } from "../../base/semaphore.ts";
import type {
  Descriptor,
  LayerCipher,
  LayerDecryption,
  LayerEncryption,
} from "../../core/image/index.ts";
import { decryptJwe, type JweRecipient, mayBeFor, nameOf, recipientsOf } from "./jwe.ts";
import { type KeyDirectory, type PrivateKey, readKeyDirectory } from "./key-directory.ts";
import { cipherOf } from "./layer-options.ts";

/** Where the private keys of this node are. */
export interface DecryptionSettings {
  readonly directory: string;
  readonly log: Logger;
  /** Keys that are tried with recipients, for one image, if not the default. */
  readonly maxTries?: number;
}

/** The key protocol that is supported. */
const protocol = "jwe";
// The annotations of one layer. A JWE for one recipient has about 1 KiB.
const maxWrappedBytes = 1024 * 1024;
const maxPublicBytes = 64 * 1024;
const maxPackets = 100;
/** For one image: some 10 s of a thread. */
const defaultTries = 10_000;
/** Recipients that a message names. */
const maxNamed = 4;
/** Problems of the directory that a message has. */
const maxProblems = 4;

/**
 * The private keys of a directory, which is read for each image that has encrypted layers. What is decrypted is
 * what a stranger wrote, and takes a thread a millisecond for each recipient and key: one at a time, of all pulls.
 */
export class NodeKeys implements LayerDecryption {
  readonly #settings: DecryptionSettings;
  readonly #maxTries: number;
  readonly #turns = new Semaphore(1);

  constructor(settings: DecryptionSettings) {
    this.#settings = settings;
    this.#maxTries = settings.maxTries ?? defaultTries;
  }

  async ciphersOf(
    layers: readonly Descriptor[],
    signal: AbortSignal,
  ): Promise<readonly (LayerCipher | undefined)[]> {
    const { directory, log } = this.#settings;
    const { keys, problems } = await keysIn(directory);
    for (const problem of problems) log.warn("a key for images is not used", { problem });
    const ring = { keys: [...keys], problems, triesLeft: this.#maxTries };
    const ciphers: (LayerCipher | undefined)[] = [];
    for (const [at, { encryption, digest }] of layers.entries()) {
      const doing = `decrypt layer ${at + 1} of ${layers.length}, blob "${digest}"`;
      ciphers.push(encryption && (await this.#unlock({ encryption, ring, doing }, signal)));
    }
    return ciphers;
  }

  async #unlock({ encryption, ring, doing }: Locked, signal: AbortSignal): Promise<LayerCipher> {
    const { wrappedKeys, publicOptions } = encryption;
    const wrapped = wrappedKeys.get(protocol);
    if (wrapped === undefined) throw otherProtocols(doing, [...wrappedKeys.keys()]);
    if (wrapped.length > maxWrappedBytes || publicOptions.length > maxPublicBytes) {
      throw new RuntimeError("data-loss", `${doing}: the annotations with its keys are too large`);
    }
    const recipients = recipientsIn(doing, wrapped);
    const content = await this.#decrypt(recipients, ring, signal);
    if (content === undefined) throw this.#noKey(doing, recipients, ring);
    const parsed = cipherOf(publicOptions, content);
    if ("cipher" in parsed) return parsed.cipher;
    throw new RuntimeError(parsed.kind, `${doing}: ${parsed.reason}: encrypt the image again`);
  }

  /** The key that fits is moved to the front: the other layers have the same recipients. */
  async #decrypt(
    recipients: readonly JweRecipient[],
    ring: KeyRing,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    for (const [at, key] of ring.keys.entries()) {
      for (const recipient of recipients.filter((each) => mayBeFor(each, key))) {
        if (ring.triesLeft-- <= 0) return undefined;
        // A turn for each, so that an image with many recipients does not delay others.
        using _turn = await this.#turns.acquire(signal);
        const content = await decryptJwe(recipient, key.key);
        signal.throwIfAborted();
        if (content === undefined) continue;
        ring.keys.splice(at, 1);
        ring.keys.unshift(key);
        return content;
      }
    }
    return undefined;
  }

  #noKey(doing: string, recipients: readonly JweRecipient[], ring: KeyRing): RuntimeError {
    const { keys, problems, triesLeft } = ring;
    const names = [...new Set(recipients.map(nameOf))];
    const shown = names.slice(0, maxNamed).join(", ") + (names.length > maxNamed ? "..." : "");
    const directory = quote(this.#settings.directory);
    const why = [
      `it is encrypted for ${recipients.length === 1 ? "one recipient" : `${recipients.length} recipients`} of ${protocol} (${shown})`,
      triesLeft > 0
        ? whatIsThere(keys.length, directory)
        : `${this.#maxTries} tries with private keys in ${directory} did not find one`,
    ].join(", and ");
    const next = "add the private key of a recipient there (images.decryption_keys_path)";
    const unused = problems.slice(0, maxProblems).join("; ");
    const not = unused === "" ? "" : `; not used: ${unused}`;
    return new RuntimeError("failed-precondition", `${doing}: ${why}: ${next}${not}`);
  }
}

/** The keys of this node while one image is read. */
interface KeyRing {
  readonly keys: PrivateKey[];
  readonly problems: readonly string[];
  triesLeft: number;
}

/** An encrypted layer. */
interface Locked {
  readonly encryption: LayerEncryption;
  readonly ring: KeyRing;
  /** For messages. */
  readonly doing: string;
}

function whatIsThere(keys: number, directory: string): string {
  if (keys === 0) return `there is no private key in ${directory}`;
  const some = keys === 1 ? "the private key" : `each of the ${keys} private keys`;
  return `${some} in ${directory} is another one`;
}

/** A directory that cannot be read has no keys. */
async function keysIn(directory: string): Promise<KeyDirectory> {
  try {
    return await readKeyDirectory(directory);
  } catch (cause) {
    return { keys: [], problems: [messageOf(cause)] };
  }
}

/** The annotation has several JWEs if recipients were added later: base64, separated by commas. */
function recipientsIn(doing: string, wrapped: string): readonly JweRecipient[] {
  const packets = wrapped.split(",", maxPackets + 1);
  if (packets.length > maxPackets) {
    throw new RuntimeError(
      "data-loss",
      `${doing}: it has more than ${maxPackets} keys of ${protocol}`,
    );
  }
  return packets.flatMap((packet) => {
    const found = recipientsOf(Buffer.from(packet, "base64"));
    if (typeof found !== "string") return found;
    const why = `the annotation with its keys of ${protocol} cannot be read: ${found}`;
    throw new RuntimeError("data-loss", `${doing}: ${why}`);
  });
}

function otherProtocols(doing: string, names: readonly string[]): RuntimeError {
  if (names.length === 0) {
    const why = "it is encrypted, and its manifest has no key for any recipient";
    return new RuntimeError("data-loss", `${doing}: ${why}`);
  }
  const shown = names.map((name) => quote(name)).join(", ");
  const why = `its key is encrypted with ${shown}, and ${protocol} is supported`;
  const next = "encrypt the image for a public key: skopeo copy --encryption-key jwe:KEY.pem";
  return new RuntimeError("unimplemented", `${doing}: ${why}: ${next}`);
}
