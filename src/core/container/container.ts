import type { Digest } from "../../base/digest.ts";
import type { ContainerConfig, LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { ImageConfig } from "../image/index.ts";
import type { ContainerState } from "./state.ts";

/** The image that a container was made of, as it was then: it may be removed meanwhile. */
export interface ContainerImage {
  /** `Image.id`. */
  readonly id: Digest;
  /** What the client asked for. */
  readonly requested: string;
  /** A name to show: the first tag, else the first digest, else the id. */
  readonly shown: string;
  /** `image_ref` of ContainerStatus: the first repo digest, else the id. */
  readonly ref: string;
  readonly layers: readonly Digest[];
  /** What the image says of its containers. */
  readonly config: ImageConfig;
}

/** An image whose files are mounted in a container, as it was when the container was made. */
export interface ContainerImageVolume {
  /** `Image.id`, and `image_ref` of the mount in ContainerStatus. */
  readonly image: Digest;
  readonly layers: readonly Digest[];
}

/** The user that the container's process runs as, resolved in its image. */
export interface ContainerUser {
  readonly uid: bigint;
  readonly gid: bigint;
  readonly supplementalGroups: readonly bigint[];
}

/**
 * A container: what the client asked for and what was made of it. An immutable value; the store
 * holds the newest one of each id.
 */
export interface Container {
  readonly id: string;
  /** Reserved name: container name, attempt, and the sandbox's name. */
  readonly name: string;
  readonly sandboxId: string;
  /** The client's CreateContainerRequest, byte for byte. */
  readonly requestBytes: Uint8Array;
  /** The config in those bytes. */
  readonly config: ContainerConfig;
  /** The resources in force: those of the config until they are updated. */
  readonly resources: LinuxContainerResources | undefined;
  readonly image: ContainerImage;
  /** One for each mount of the config that has an image, in its order. */
  readonly imageVolumes: readonly ContainerImageVolume[];
  /** Paths in the container where its image declares a volume and the request mounts nothing. */
  readonly volumes: readonly string[];
  readonly user: ContainerUser;
  /** Name of the stop signal, from the CRI, else the image, else SIGTERM. */
  readonly stopSignal: string;
  /** Absolute path of the log; always absolute and not empty, even where nothing is written. */
  readonly logPath: string;
  /** False where the client gave no log path: then nothing is logged. */
  readonly hasLog: boolean;
  /** cgroupfs path below each hierarchy's root. */
  readonly cgroupPath: string;
  readonly createdAtNs: bigint;
  readonly bootId: string;
  readonly state: ContainerState;
}

/** The layers that a container stands on: its image's, and those of its image volumes. */
export function layersOf({
  image,
  imageVolumes,
}: Pick<Container, "image" | "imageVolumes">): readonly Digest[] {
  return [...image.layers, ...imageVolumes.flatMap(({ layers }) => layers)];
}
