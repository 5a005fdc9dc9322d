import { createHash } from "node:crypto";
import type { Digest } from "../../base/digest.ts";
import { RuntimeError } from "../../base/errors.ts";
import { fileLayerId } from "../../base/file-layer.ts";
import type { Clock } from "../../base/time.ts";
import { bytesOf } from "../../base/unread-bytes.ts";
import type { LayerCipher } from "../../core/image/index.ts";
import type { Operation } from "../../core/operation/index.ts";
import {
  type FileSystemSpace,
  type LayerOrigin,
  type Layers,
  type LayerSource,
  TooLarge,
  type Usage,
} from "../../core/snapshot/index.ts";
import { Trouble } from "./trouble.ts";

interface Layer {
  readonly origins: Set<string>;
  readonly bytes: number;
  readonly unpackedAtNs: bigint;
  isClaimed: boolean;
  isComplete: boolean;
}

/** The digest of some text. */
export function digestOf(text: string | Uint8Array): Digest {
  return `sha256:${createHash("sha256").update(text).digest("hex")}`;
}

/** The blob of a layer with these contents: the fake's compression puts a "z" before them. */
export function compressed(contents: string): Buffer {
  return Buffer.from(`z${contents}`);
}

/** Layers in memory. Digests are compared as a real implementation does. */
export class FakeLayers implements Layers {
  readonly directory = "/layers";
  readonly trouble = new Trouble<"unpack" | "complete" | "synced" | "remove" | "sweep" | "space">();
  /** How often a layer was unpacked. */
  readonly unpacked = new Map<Digest, number>();
  /** Its free bytes do not change by themselves. */
  fileSystem: FileSystemSpace = {
    totalBytes: 1000,
    freeBytes: 500,
    totalInodes: 1000,
    freeInodes: 500,
  };
  isDeleting = false;
  /** Those of the last removeCopyUps(). */
  chains: readonly (readonly Digest[])[] = [];
  readonly #clock: Clock;
  readonly #layers = new Map<Digest, Layer>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  has(diffId: Digest): boolean {
    return this.#layers.has(diffId);
  }

  hasFrom(diffId: Digest, origin: LayerOrigin): boolean {
    return this.#layers.get(diffId)?.origins.has(keyOf(origin)) ?? false;
  }

  attribute(diffId: Digest, origin: LayerOrigin): void {
    const layer = this.#layers.get(diffId);
    if (layer?.origins.size === 0) layer.origins.add(keyOf(origin));
  }

  /** Adds a layer that was unpacked by a daemon that did not record its origin. */
  forgetOrigin(diffId: Digest): void {
    this.#layers.get(diffId)?.origins.clear();
  }

  async unpack(
    source: LayerSource,
    signal: AbortSignal,
    operation?: Pick<Operation, "enter">,
  ): Promise<void> {
    const { blob, diffId, registry, limits, cipher } = source;
    await operation?.enter("make-directory");
    await operation?.enter("unpack");
    const chunks: Uint8Array[] = [];
    for await (const chunk of source.chunks) {
      signal.throwIfAborted();
      chunks.push(await bytesOf(chunk));
    }
    await this.trouble.at("unpack", signal);
    const bytes = Buffer.concat(chunks);
    const digest = digestOf(bytes);
    const contents = decrypted(bytes, cipher).subarray(1);
    const id = source.file === undefined ? digestOf(contents) : fileLayerId(digest, source.file);
    if (digest !== blob.digest || id !== diffId) {
      throw new RuntimeError("data-loss", `unpack layer "${diffId}": its digest is another one`);
    }
    const most = limits.bytes?.most ?? Infinity;
    if (contents.length > most) throw new TooLarge(`it has more than ${limits.bytes?.why}`);
    await operation?.enter("publish");
    this.unpacked.set(diffId, (this.unpacked.get(diffId) ?? 0) + 1);
    const layer = this.#layers.get(diffId) ?? {
      origins: new Set(),
      bytes: contents.length,
      unpackedAtNs: this.#clock.nowNs(),
      isClaimed: false,
      isComplete: false,
    };
    const { sizeBytes } = blob;
    layer.origins.add(keyOf({ registry, digest: blob.digest, sizeBytes, cipher: cipher?.id }));
    this.#layers.set(diffId, layer);
  }

  async complete(layers: readonly Digest[], signal: AbortSignal): Promise<void> {
    await this.trouble.at("complete", signal);
    for (const diffId of layers) this.#get(diffId).isComplete = true;
  }

  async synced(): Promise<void> {
    await this.trouble.at("synced");
  }

  lacking(layers: readonly Digest[]): Digest | undefined {
    return layers.find((diffId) => this.#layers.get(diffId)?.isComplete !== true);
  }

  async remove(diffId: Digest): Promise<void> {
    await this.trouble.at("remove");
    this.#layers.delete(diffId);
  }

  list(): readonly Digest[] {
    return [...this.#layers.keys()];
  }

  unclaimed(): ReadonlyMap<Digest, bigint> {
    const unclaimed = [...this.#layers].filter(([, { isClaimed }]) => !isClaimed);
    return new Map(unclaimed.map(([diffId, { unpackedAtNs }]) => [diffId, unpackedAtNs]));
  }

  async claim(layers: Iterable<Digest>): Promise<void> {
    for (const diffId of layers) this.#get(diffId).isClaimed = true;
  }

  usage(of: Iterable<Digest> = this.#layers.keys()): Usage {
    let bytes = 0n;
    for (const diffId of new Set(of)) bytes += BigInt(this.#layers.get(diffId)?.bytes ?? 0);
    return { bytes, inodes: 0n };
  }

  async space(): Promise<FileSystemSpace> {
    await this.trouble.at("space");
    return this.fileSystem;
  }

  async removeCopyUps(chains: () => Iterable<readonly Digest[]>): Promise<readonly string[]> {
    this.chains = [...chains()];
    return [];
  }

  async sweep(): Promise<readonly string[]> {
    await this.trouble.at("sweep");
    return [];
  }

  #get(diffId: Digest): Layer {
    const layer = this.#layers.get(diffId);
    if (layer !== undefined) return layer;
    throw new RuntimeError("not-found", `find layer "${diffId}": it is not here`);
  }
}

function keyOf({ registry, digest, sizeBytes, cipher = "" }: LayerOrigin): string {
  return `${registry} ${digest} ${sizeBytes} ${cipher}`;
}

/** The fake's encryption of a blob. */
export function encrypted(bytes: Uint8Array, { key }: Pick<LayerCipher, "key">): Buffer {
  return Buffer.from(bytes.map((byte, at) => byte ^ (key[at % key.length] ?? 0)));
}

function decrypted(bytes: Buffer, cipher: LayerCipher | undefined): Buffer {
  return cipher === undefined ? bytes : encrypted(bytes, cipher);
}
