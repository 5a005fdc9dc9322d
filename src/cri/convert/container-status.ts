import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { Container } from "../../core/container/index.ts";
import { ContainerStatusSchema, type Mount, Signal } from "../../gen/runtime/v1/api_pb.ts";
import { criContainerState } from "./container.ts";
import { messageField } from "./fields.ts";

/** The ContainerStatus message of a container, from memory. */
export function criContainerStatus(
  container: Container,
): MessageInitShape<typeof ContainerStatusSchema> {
  const { config, image, state, resources, user } = container;
  const exited = state.name === "exited" ? state : undefined;
  const { reason, message } = exited ?? whilePaused(container);
  return {
    id: container.id,
    ...(config.metadata === undefined ? {} : { metadata: config.metadata }),
    state: criContainerState(container),
    createdAt: container.createdAtNs,
    startedAt: state.name === "running" || state.name === "exited" ? state.startedAtNs : 0n,
    finishedAt: exited?.finishedAtNs ?? 0n,
    exitCode: exited?.exitCode ?? 0,
    reason,
    message,
    image: { image: image.shown, userSpecifiedImage: userSpecified(container) },
    imageRef: image.ref,
    imageId: image.id,
    labels: config.labels,
    annotations: config.annotations,
    mounts: mountsOf(container),
    logPath: container.logPath,
    ...(resources === undefined ? {} : { resources: { linux: resources } }),
    user: {
      linux: {
        uid: user.uid,
        gid: user.gid,
        supplementalGroups: groupsOf(user),
      },
    },
    stopSignal: signalByName(container.stopSignal),
  };
}

/** The CRI has no state for a paused container: it is running, with this reason. kubelet shows none for it. */
function whilePaused({ id, state }: Container): {
  readonly reason: string;
  readonly message: string;
} {
  if (state.name !== "running" || state.pausedAtNs === undefined)
    return { reason: "", message: "" };
  const since = new Date(Number(state.pausedAtNs / 1_000_000n)).toISOString();
  return { reason: "Paused", message: `paused at ${since}; resume it with "davit resume ${id}"` };
}

/** The name in the pod's spec. kubelet's `image.image` is the id that PullImage returned. */
function userSpecified({ config, image }: Container): string {
  return config.image?.userSpecifiedImage || image.requested;
}

/** All groups of the process at its start, including the primary group (credentials(7)). */
function groupsOf({ gid, supplementalGroups }: Container["user"]): bigint[] {
  return [...new Set([gid, ...supplementalGroups])].toSorted((a, b) => (a < b ? -1 : 1));
}

/**
 * The mounts of the request. Image mounts have the id of the image as `image_ref`, which is also the
 * answer of PullImage: critest compares the two (KEP-5365), and containerd does the same.
 */
function mountsOf({ config, imageVolumes }: Container): Mount[] {
  if (imageVolumes.length === 0) return config.mounts;
  const volumes = imageVolumes.values();
  return config.mounts.map((mount) => {
    if (mount.image === undefined) return mount;
    const imageRef = volumes.next().value?.image ?? "";
    return { ...mount, image: { ...mount.image, imageRef } };
  });
}

function signalByName(name: string): Signal {
  // The CRI has SIGRTMINPLUS1 for SIGRTMIN+1 and SIGRTMAXMINUS1 for SIGRTMAX-1.
  const key = name.replace("+", "PLUS").replace("-", "MINUS");
  return (Signal as Readonly<Record<string, Signal>>)[key] ?? Signal.RUNTIME_DEFAULT;
}

const encoded = new WeakMap<Container, Uint8Array>();

/** The status as an element of PodSandboxStatusResponse.containers_statuses (field 3). */
export function encodedContainerStatus(container: Container): Uint8Array {
  const known = encoded.get(container);
  if (known !== undefined) return known;
  const message = create(ContainerStatusSchema, criContainerStatus(container));
  const bytes = messageField(3, toBinary(ContainerStatusSchema, message));
  encoded.set(container, bytes);
  return bytes;
}
