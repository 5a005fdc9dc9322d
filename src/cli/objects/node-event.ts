import type { EventsResponse } from "../../gen/davit/v1/daemon_pb.ts";
import { shortId } from "../output/figures.ts";
import type { EventNames, EventObject } from "./named-event.ts";

/** The kinds of events of a davit node, as JSON names them. */
type NodeEventKind =
  | "image-pulled"
  | "image-removed"
  | "oom-killed"
  | "plugin-connected"
  | "plugin-lost";

/** What they are about, as options name it: the beginnings of their kinds. */
export const nodeEventTopics = ["image", "oom", "plugin"] as const;

/** An event that is not a change of a container or a pod, with the names of what it is about. */
export interface NamedNodeEvent {
  readonly kind: NodeEventKind;
  readonly timeNs: bigint;
  /** For a line. */
  readonly text: string;
  /** For JSON: the fields of its message. */
  readonly fields: Readonly<Record<string, string | string[]>>;
  /** The container of an OOM kill; undefined for an event of the node itself. */
  readonly container: EventObject | undefined;
}

/** The event of a message; undefined for one of a newer server, and for the first message of a stream. */
export function namedNodeEvent(
  { timeNs, event }: EventsResponse,
  names: EventNames,
): NamedNodeEvent | undefined {
  const made = (
    kind: NodeEventKind,
    text: string,
    fields: NamedNodeEvent["fields"],
    container?: EventObject,
  ): NamedNodeEvent => ({ kind, timeNs, text, fields, container });
  switch (event.case) {
    case "imagePulled": {
      const { id, name } = event.value;
      return made("image-pulled", `${name}  ${shortId(id)}`, { id, name });
    }
    case "imageRemoved": {
      const { id, names: all } = event.value;
      return made("image-removed", [...all, shortId(id)].join("  "), { id, names: all });
    }
    case "oomKilled": {
      const { containerId, sandboxId } = event.value;
      const of = names.ofContainer(containerId);
      const path = [of.namespace, of.podName, of.container?.name ?? ""];
      const text = path.filter((part) => part !== "").join("/");
      return made("oom-killed", text, { containerId, sandboxId }, of);
    }
    case "pluginConnected": {
      const { name, index } = event.value;
      return made("plugin-connected", `${index}-${name}`, { name, index });
    }
    case "pluginLost": {
      const { name, index, reason } = event.value;
      return made("plugin-lost", `${index}-${name}: ${reason}`, { name, index, reason });
    }
    case undefined:
      return undefined;
  }
}
