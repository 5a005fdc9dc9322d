import {
  type ContainerEventResponse,
  ContainerEventType,
  type ContainerStatus,
  type PodSandboxMetadata,
} from "../../gen/runtime/v1/api_pb.ts";
import type { PodContainer } from "./find.ts";
import { imageName } from "./image-name.ts";

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

/** What an event is about. */
export type EventObject = Pick<NamedEvent, "id" | "podId" | "podName" | "namespace" | "container">;

/** What is remembered of a container: its last event has no status. */
interface Known {
  readonly pod: PodNames;
  readonly container: { readonly name: string; readonly image: string };
}

type PodNames = Pick<NamedEvent, "podId" | "podName" | "namespace">;

function namesOf(
  id: string,
  pod: { readonly metadata?: PodSandboxMetadata | undefined } | undefined,
): PodNames {
  const { name = "", namespace = "" } = pod?.metadata ?? {};
  return { podId: id, podName: name, namespace };
}

const unknownPod: PodNames = { podId: "", podName: "", namespace: "" };

/** Gives events the names of their objects. Remembers the containers that exist. */
export class EventNames {
  readonly #known = new Map<string, Known>();
  #images: ReadonlyMap<string, string> = new Map();

  /** `containers` are those that exist already, `images` the names of images by id. */
  learn(containers: readonly PodContainer[], images: ReadonlyMap<string, string>): void {
    this.#images = images;
    for (const { container, pod } of containers) {
      this.#known.set(container.id, {
        pod: namesOf(container.podSandboxId, pod),
        container: {
          name: container.metadata?.name ?? "",
          image: imageName(container, images),
        },
      });
    }
  }

  /** The names of a container, as far as they are known. */
  ofContainer(id: string): EventObject {
    const { pod, container } = this.#known.get(id) ?? {};
    return { ...(pod ?? unknownPod), id, container: container ?? { name: id, image: "" } };
  }

  /** The event with names. A container that is deleted is forgotten. */
  name(event: ContainerEventResponse): NamedEvent {
    const { containerId: id, podSandboxStatus: pod, containerEventType: type } = event;
    const status = event.containersStatuses.find((each) => each.id === id);
    if (status !== undefined && pod !== undefined) {
      const container = {
        name: status.metadata?.name ?? "",
        image: imageName(status, this.#images),
      };
      this.#known.set(id, { pod: namesOf(pod.id, pod), container });
    }
    const known = this.#known.get(id);
    if (type === ContainerEventType.CONTAINER_DELETED_EVENT) this.#known.delete(id);
    return {
      ...(pod === undefined ? (known?.pod ?? unknownPod) : namesOf(pod.id, pod)),
      kind: eventKinds[type] ?? "created",
      timeNs: event.createdAt,
      id,
      container: pod?.id === id ? undefined : (known?.container ?? { name: id, image: "" }),
      end: type === ContainerEventType.CONTAINER_STOPPED_EVENT ? status : undefined,
    };
  }
}

/**
 * Whether a word of the command line names the event's pod or container: by name, POD/NAME,
 * NAMESPACE/NAME, NAMESPACE/POD/NAME, or by an id or its first characters. The object need not exist yet.
 */
export function isEventOf(event: EventObject, word: string): boolean {
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
