import {
  type ContainerEventResponse,
  ContainerEventType,
  type ContainerStatus,
} from "../../gen/runtime/v1/api_pb.ts";
import type { PodContainer } from "./find.ts";

/** The kinds of events, as options and lines name them; their order is that of the CRI. */
export const eventKinds = ["created", "started", "stopped", "deleted"] as const;

/** An event with the names of its pod and container, as far as they are known. */
export interface NamedEvent {
  readonly kind: (typeof eventKinds)[number];
  readonly timeNs: bigint;
  /** The id of the container, or of the pod. */
  readonly id: string;
  readonly podId: string;
  readonly podName: string;
  readonly namespace: string;
  /** Undefined for an event of the pod itself. */
  readonly container: { readonly name: string; readonly image: string } | undefined;
  /** The status of a container that has ended. */
  readonly end: ContainerStatus | undefined;
}

/** What is remembered of a container: its last event has no status. */
interface Known {
  readonly podId: string;
  readonly podName: string;
  readonly namespace: string;
  readonly container: { readonly name: string; readonly image: string };
}

/** Gives events the names of their objects. Remembers the containers that exist. */
export class EventNames {
  readonly #known = new Map<string, Known>();

  /** `containers` are those that exist already. */
  learn(containers: readonly PodContainer[]): void {
    for (const { container, pod } of containers) {
      const { image } = container;
      this.#known.set(container.id, {
        podId: container.podSandboxId,
        podName: pod?.metadata?.name ?? "",
        namespace: pod?.metadata?.namespace ?? "",
        container: {
          name: container.metadata?.name ?? "",
          image: image?.userSpecifiedImage || (image?.image ?? ""),
        },
      });
    }
  }

  /** The event with names. A container that is deleted is forgotten. */
  name(event: ContainerEventResponse): NamedEvent {
    const { containerId: id, podSandboxStatus: pod, containersStatuses } = event;
    const status = containersStatuses.find((each) => each.id === id);
    if (status !== undefined && pod !== undefined) {
      const image = status.image?.userSpecifiedImage || (status.image?.image ?? "");
      this.#known.set(id, {
        podId: pod.id,
        podName: pod.metadata?.name ?? "",
        namespace: pod.metadata?.namespace ?? "",
        container: { name: status.metadata?.name ?? "", image },
      });
    }
    const known = this.#known.get(id);
    const type = event.containerEventType;
    if (type === ContainerEventType.CONTAINER_DELETED_EVENT) this.#known.delete(id);
    const isPod = pod?.id === id;
    return {
      kind: eventKinds[type] ?? "created",
      timeNs: event.createdAt,
      id,
      podId: pod?.id ?? known?.podId ?? "",
      podName: pod?.metadata?.name ?? known?.podName ?? "",
      namespace: pod?.metadata?.namespace ?? known?.namespace ?? "",
      container: isPod ? undefined : (known?.container ?? { name: id, image: "" }),
      end: type === ContainerEventType.CONTAINER_STOPPED_EVENT ? status : undefined,
    };
  }
}

/**
 * Whether a word of the command line names the event's pod or container: by name, POD/NAME,
 * NAMESPACE/NAME, NAMESPACE/POD/NAME, or by an id or its first characters. The object need not exist yet.
 */
export function isEventOf(event: NamedEvent, word: string): boolean {
  const { namespace, podName, container } = event;
  const path = `${namespace}/${podName}`;
  const names =
    container === undefined
      ? [podName, path]
      : [
          podName,
          path,
          container.name,
          `${podName}/${container.name}`,
          `${path}/${container.name}`,
        ];
  if (names.includes(word)) return true;
  // Shorter words are names rather than ids.
  return /^[0-9a-f]{4,}$/.test(word) && [event.id, event.podId].some((id) => id.startsWith(word));
}
