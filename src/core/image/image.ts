import type { Digest } from "../../base/digest.ts";

/** The configuration of an image for its containers (image-spec, config.md). */
export interface ImageConfig {
  readonly entrypoint: readonly string[];
  readonly cmd: readonly string[];
  readonly env: readonly string[];
  readonly workingDir: string;
  /** `user`, `uid`, `user:group`, `uid:gid` or empty for root. */
  readonly user: string;
  /** A signal's name or number, empty for the default. */
  readonly stopSignal: string;
  readonly volumes: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

/** A layer of an image, lowest first in {@link Image.layers}. */
export interface ImageLayer {
  /** Digest of the uncompressed tar: what identifies the layer's content on this node. */
  readonly diffId: Digest;
  /** Digest of the blob as the registry has it. */
  readonly digest: Digest;
  /** Size of that blob. Bytes. */
  readonly sizeBytes: bigint;
}

/** An image of this node. An immutable value; the store holds the newest one of each id. */
export interface Image {
  /** Digest of the config, or of the manifest for an artifact or a checkpoint: what `image_ref`, `image_id` and `Image.id` are. */
  readonly id: Digest;
  /** Full names with a tag, sorted: `docker.io/library/busybox:latest`. */
  readonly repoTags: readonly string[];
  /** Full names with the digest that they were pulled by, sorted. */
  readonly repoDigests: readonly string[];
  /** Size of config, manifest and compressed layers. Bytes. */
  readonly sizeBytes: bigint;
  readonly layers: readonly ImageLayer[];
  readonly config: ImageConfig;
  /** The unmodified JSON of the config, for verbose status. */
  readonly configJson: string;
  /** Must not be collected by kubelet. */
  readonly pinned: boolean;
  /** Set for an artifact, which has files but no program: its type, as its author wrote it. */
  readonly artifactType?: string;
  /** Set for an image of a container's checkpoint: the name of that container, as its author wrote it. */
  readonly checkpointOf?: string;
}

/** Whether one of these is the id of the image, or the digest of one of its names. */
export function hasDigest(
  { id, repoDigests }: Pick<Image, "id" | "repoDigests">,
  digests: ReadonlySet<string>,
): boolean {
  return (
    digests.has(id) || repoDigests.some((name) => digests.has(name.slice(name.indexOf("@") + 1)))
  );
}
