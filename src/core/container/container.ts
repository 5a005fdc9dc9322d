import type { Digest } from "../../base/digest.ts";
import type { ContainerConfig, LinuxContainerResources } from "../../gen/runtime/v1/api_pb.ts";
import type { ImageConfig } from "../image/index.ts";
import type { ContainerState } from "./state.ts";

/** The image of a container, as it was at its creation: it may have been removed since. */
export interface ContainerImage {
  /** `Image.id`. */
  readonly id: Digest;
  /** The name in the client's request. */
  readonly requested: string;
  /** The display name: what the client calls the image, if that is a name of it; see image-names.ts. */
  readonly shown: string;
  /** `image_ref` of ContainerStatus: a digest of the repository that the client named, else the first one, else the id. */
  readonly ref: string;
  readonly layers: readonly Digest[];
  /** The image's configuration for its containers. */
  readonly config: ImageConfig;
}

/** An image that is mounted as a volume, as it was at the create. */
export interface ContainerImageVolume {
  /** `Image.id`, and `image_ref` of the mount in ContainerStatus. */
  readonly image: Digest;
  readonly layers: readonly Digest[];
}

/** The checkpoint that a container is restored from when it starts. */
export interface ContainerRestore {
  /** Its directory; see core/checkpoint. */
  readonly directory: string;
  /** Whether the directory is removed with the container. */
  readonly owned: boolean;
  /** As in RestoreSource. */
  readonly closeTcp: boolean;
  /** The last of the container's layers, if its root had changes. */
  readonly changes?: Digest | undefined;
}

/** The user that the container's process runs as, resolved in its image. */
export interface ContainerUser {
  readonly uid: bigint;
  readonly gid: bigint;
  readonly supplementalGroups: readonly bigint[];
}

/**
 * A container: the client's request and its current state. An immutable value; the store has the newest
 * one of each id.
 */
export interface Container {
  readonly id: string;
  /** The unique name: container name, attempt, and the sandbox's name. */
  readonly name: string;
  readonly sandboxId: string;
  /** The client's CreateContainerRequest, byte for byte. */
  readonly requestBytes: Uint8Array;
  /** The config in those bytes. */
  readonly config: ContainerConfig;
  /** The current resources: those of the config until they are updated. */
  readonly resources: LinuxContainerResources | undefined;
  readonly image: ContainerImage;
  /** One for each mount of the config that has an image, in the order of the mounts. */
  readonly imageVolumes: readonly ContainerImageVolume[];
  /** The paths of volumes that the image declares and that no mount of the request covers. */
  readonly volumes: readonly string[];
  readonly user: ContainerUser;
  /** The name of the stop signal: of the request, else of the image, else SIGTERM. */
  readonly stopSignal: string;
  /** The path of the log. Always absolute, even if the container has no log. */
  readonly logPath: string;
  /** False if the request has no log path: then nothing is logged. */
  readonly hasLog: boolean;
  /** cgroupfs path below each hierarchy's root. */
  readonly cgroupPath: string;
  /** What plugins adjust in its spec (NRI, ContainerAdjustment), without what is in `resources`. */
  readonly adjustment?: Uint8Array;
  /** Undefined for a container that runs its command. */
  readonly restore?: ContainerRestore | undefined;
  /** A checkpoint has paused it, and resumes it. If the daemon ends meanwhile, the next one does. */
  readonly pausedForCheckpoint?: true;
  readonly createdAtNs: bigint;
  readonly bootId: string;
  readonly state: ContainerState;
}

/** The layers of each image that a container uses, lowest first: its own image, and those of its image volumes. */
export function chainsOf({
  image,
  imageVolumes,
}: Pick<Container, "image" | "imageVolumes">): readonly (readonly Digest[])[] {
  return [image.layers, ...imageVolumes.map(({ layers }) => layers)];
}

/** The layers that a container uses: its image's, and those of its image volumes. */
export function layersOf({
  image,
  imageVolumes,
}: Pick<Container, "image" | "imageVolumes">): readonly Digest[] {
  return [...image.layers, ...imageVolumes.flatMap(({ layers }) => layers)];
}
