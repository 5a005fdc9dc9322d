import {
  type ArchivedImage,
  type ArchiveOptions,
  type Descriptor,
  type ImageArchive,
  type ImageArchives,
  parseReference,
} from "../../core/image/index.ts";
import { RuntimeError } from "../../base/errors.ts";
import { compressed, digestOf, encrypted } from "./fake-layers.ts";
import { encryptionBy } from "./fake-source.ts";
import { Trouble } from "./trouble.ts";

/** An image of an archive. */
interface ToArchive {
  readonly names?: readonly string[];
  /** Contents of the layers, lowest first. */
  readonly layers: readonly string[];
  /** Diff ids in the config instead of the layers' own. */
  readonly diffIds?: readonly string[];
  readonly digest?: ArchivedImage["digest"];
  /** Encrypts the layers, as FakeSource.publish() does. */
  readonly key?: string;
}

/** Archives in memory: the next one has the images of `images`, whatever its bytes are. */
export class FakeArchives implements ImageArchives {
  readonly trouble = new Trouble<"open" | "blob">();
  images: readonly ToArchive[] = [];
  /** Archives that are open now. */
  openCount = 0;
  /** The bytes and the options of the last archive. */
  received: { readonly bytes: Buffer; readonly options: ArchiveOptions } | undefined;

  async open(
    chunks: AsyncIterable<Uint8Array>,
    options: ArchiveOptions,
    signal: AbortSignal,
  ): Promise<ImageArchive> {
    const parts: Uint8Array[] = [];
    for await (const chunk of chunks) parts.push(chunk);
    this.received = { bytes: Buffer.concat(parts), options };
    await this.trouble.at("open", signal);
    const blobs = new Map<string, Buffer>();
    const put = (bytes: Buffer, mediaType: string): Descriptor => {
      const digest = digestOf(bytes);
      blobs.set(digest, bytes);
      return { mediaType, digest, sizeBytes: BigInt(bytes.length) };
    };
    const putLayer = (blob: Buffer, key: string | undefined): Descriptor => {
      if (key === undefined) return put(blob, "layer");
      const bytes = encrypted(blob, { key: Buffer.from(key) });
      return { ...put(bytes, "layer+encrypted"), encryption: encryptionBy(key) };
    };
    const images = this.images.map(({ names = [], layers, diffIds, digest, key }) => {
      const ids = diffIds ?? layers.map((contents) => digestOf(contents));
      return {
        names: names.map(parseReference),
        digest,
        config: put(Buffer.from(JSON.stringify({ rootfs: { diff_ids: ids } })), "config"),
        layers: layers.map((contents) => putLayer(compressed(contents), key)),
      };
    });
    const get = ({ digest }: Descriptor): Buffer => {
      const bytes = blobs.get(digest);
      if (bytes !== undefined) return bytes;
      throw new RuntimeError("not-found", `find blob "${digest}": it is not there`);
    };
    this.openCount++;
    return {
      images,
      config: ({ config }) => Promise.resolve(get(config)),
      blob: async (descriptor) => {
        await this.trouble.at("blob", signal);
        async function* all(): AsyncGenerator<Uint8Array> {
          yield get(descriptor);
        }
        return {
          sizeBytes: descriptor.sizeBytes,
          chunks: all(),
          [Symbol.asyncDispose]: () => Promise.resolve(),
        };
      },
      [Symbol.asyncDispose]: async () => {
        this.openCount--;
      },
    };
  }
}
