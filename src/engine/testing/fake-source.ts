import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { fileLayerId } from "../../base/file-layer.ts";
import {
  type BlobStream,
  type Descriptor,
  type ExplainedHost,
  formatReference,
  type ImageFetcher,
  type ImageReference,
  type ImageSource,
  type LayerDecryption,
  type LayerEncryption,
  parseReference,
  type RegistryAuth,
  type ResolvedImage,
} from "../../core/image/index.ts";
import { compressed, digestOf, encrypted } from "./fake-layers.ts";
import { Trouble } from "./trouble.ts";

/** An image as a registry has it. */
export interface Published {
  readonly resolved: ResolvedImage;
  /** Of its layers, lowest first. */
  readonly diffIds: readonly Digest[];
  readonly id: Digest;
}

/** What to publish. */
export interface ToPublish {
  /** Contents of the layers, lowest first. */
  readonly layers: readonly string[];
  /** `config` of the image's config. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** Diff ids in the config instead of the layers' own. */
  readonly diffIds?: readonly string[];
  /** Makes it an artifact: the paths of its files. */
  readonly paths?: readonly string[];
  /** Makes it a checkpoint of this container. */
  readonly checkpointOf?: string;
  /** Only who gives this password gets the image. */
  readonly password?: string;
  /** Encrypts the layers with this key, which the text `key` of their protocol `test` stands for. */
  readonly key?: string;
}

/** Registries in memory. */
export class FakeSource implements ImageSource {
  readonly trouble = new Trouble<"resolve" | "config" | "hasBlob" | "blob">();
  /** What registries answer when a blob is asked for; the truth where undefined. */
  grantsBlobs: boolean | undefined;
  /** How often a blob was opened. */
  readonly opened = new Map<Digest, number>();
  /** How many blobs are open now, and were at once. */
  open = 0;
  mostOpen = 0;
  readonly #images = new Map<string, Published & { readonly password: string | undefined }>();
  readonly #blobs = new Map<Digest, Uint8Array>();

  /** Puts an image into its registry. */
  publish(name: string, toPublish: ToPublish): Published {
    const { layers, config = {}, diffIds, paths, password, key, checkpointOf } = toPublish;
    const own = layers.map((contents) => digestOf(contents));
    const configJson = JSON.stringify({ config, rootfs: { diff_ids: diffIds ?? own } });
    const descriptor = this.#put(Buffer.from(configJson), "config");
    const blobs = layers.map((contents) => {
      if (key === undefined) return this.#put(compressed(contents), "layer");
      const blob = encrypted(compressed(contents), { key: Buffer.from(key) });
      return { ...this.#put(blob, "layer+encrypted"), encryption: encryptionBy(key) };
    });
    const manifest = this.#put(Buffer.from(JSON.stringify([name, descriptor.digest])), "manifest");
    const image = { digest: manifest.digest, manifest, config: descriptor, layers: blobs };
    const artifact = paths && { type: "application/vnd.test.model", paths };
    const checkpoint = checkpointOf === undefined ? undefined : { checkpointOf };
    const resolved = { ...image, ...(artifact && { artifact }), ...checkpoint };
    const published = {
      resolved,
      diffIds: paths ? blobs.map(({ digest }, at) => fileLayerId(digest, paths[at] ?? "")) : own,
      id: artifact || checkpoint ? manifest.digest : descriptor.digest,
    };
    this.#images.set(formatReference(parseReference(name)), { ...published, password });
    return published;
  }

  async hosts({ registry, repository }: ImageReference): Promise<readonly ExplainedHost[]> {
    const facts = { isMirror: false, isInsecure: false, isAvoided: false, source: "default" };
    const root = `https://${registry}/v2`;
    const capabilities = ["pull", "resolve"];
    return [{ ...facts, name: registry, root, repository, capabilities, credentials: "none" }];
  }

  async resolve(
    reference: ImageReference,
    auth: RegistryAuth | undefined,
    signal: AbortSignal,
  ): Promise<ImageFetcher> {
    await this.trouble.at("resolve", signal);
    const name = formatReference(reference);
    const image = this.#images.get(name);
    if (image === undefined)
      throw new RuntimeError("not-found", `find image "${name}": it is not there`);
    if (image.password !== undefined && auth?.password !== image.password) {
      throw new RuntimeError("unauthenticated", `read image "${name}": log in first`);
    }
    return {
      image: image.resolved,
      config: async (configSignal) => {
        await this.trouble.at("config", configSignal);
        return this.#get(image.resolved.config);
      },
      blob: (descriptor, blobSignal) => this.#open(descriptor, blobSignal),
      hasBlob: async ({ digest }, blobSignal) => {
        await this.trouble.at("hasBlob", blobSignal);
        const hasIt = image.resolved.layers.some((layer) => layer.digest === digest);
        return this.grantsBlobs ?? hasIt;
      },
    };
  }

  async #open(blob: Descriptor, signal: AbortSignal): Promise<BlobStream> {
    this.open++;
    this.mostOpen = Math.max(this.mostOpen, this.open);
    this.opened.set(blob.digest, (this.opened.get(blob.digest) ?? 0) + 1);
    try {
      await this.trouble.at("blob", signal);
      const bytes = this.#get(blob);
      return {
        sizeBytes: blob.sizeBytes,
        chunks: halves(bytes),
        [Symbol.asyncDispose]: async () => {
          this.open--;
        },
      };
    } catch (error) {
      this.open--;
      throw error;
    }
  }

  #put(bytes: Uint8Array, mediaType: string): Descriptor {
    const digest = digestOf(bytes);
    this.#blobs.set(digest, bytes);
    return { mediaType, digest, sizeBytes: BigInt(bytes.length) };
  }

  #get({ digest }: Descriptor): Uint8Array {
    const bytes = this.#blobs.get(digest);
    if (bytes !== undefined) return bytes;
    throw new RuntimeError("not-found", `fetch blob "${digest}": it is not there`);
  }
}

/** How a layer is encrypted by a key, for {@link fakeDecryption}. */
export function encryptionBy(key: string): LayerEncryption {
  return { wrappedKeys: new Map([["test", key]]), publicOptions: "" };
}

/** The decryption of a node that has these keys. */
export function fakeDecryption(keys: ReadonlySet<string>): LayerDecryption {
  return {
    ciphersOf: async (layers) =>
      layers.map(({ encryption }) => {
        const key = encryption?.wrappedKeys.get("test");
        if (key === undefined) return undefined;
        if (!keys.has(key)) throw new RuntimeError("failed-precondition", "decrypt layer: no key");
        const [nonce, mac] = [Buffer.alloc(16), Buffer.alloc(32)];
        return { key: Buffer.from(key), nonce, mac, id: digestOf(key) };
      }),
  };
}

async function* halves(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  const middle = Math.ceil(bytes.length / 2);
  yield bytes.subarray(0, middle);
  yield bytes.subarray(middle);
}
