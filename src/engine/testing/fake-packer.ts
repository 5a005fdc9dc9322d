import type { Digest } from "../../base/digest.ts";
import type { LayerPacker, PackedImage } from "../../core/snapshot/index.ts";
import { digestOf } from "./fake-layers.ts";
import { Trouble } from "./trouble.ts";

/** Packs by writing what it was asked for. */
export class FakePacker implements LayerPacker {
  readonly trouble = new Trouble<"pack" | "archive" | "digests">();
  /** Digests of layers other than those of a layer that is as it was. */
  readonly changed = new Map<Digest, Digest>();

  async *pack(images: readonly PackedImage[], signal: AbortSignal): AsyncGenerator<Uint8Array> {
    await this.trouble.at("pack", signal);
    yield Buffer.from(JSON.stringify(images));
  }

  async *archive(layer: Digest, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    await this.trouble.at("archive", signal);
    yield Buffer.from(layer);
  }

  async digests(layers: readonly Digest[], signal: AbortSignal): Promise<readonly Digest[]> {
    await this.trouble.at("digests", signal);
    return layers.map((layer) => this.changed.get(layer) ?? digestOf(`files of ${layer}`));
  }
}
