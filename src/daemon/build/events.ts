import type { Logger } from "../../base/logger.ts";
import type { Clock } from "../../base/time.ts";
import type { Config } from "../../config/config.ts";
import { type CriContext, encodedContainerEvent, encodedNodeEvent } from "../../cri/index.ts";
import { EventFeed, NodeEvents, type PodEvent } from "../../engine/events/index.ts";
import type { SandboxContext } from "../../engine/sandbox/index.ts";

/**
 * The number of events that wait for one reader at most. The start of a node's 110 pods is about 1000
 * events of a few KiB.
 */
const maxWaitingEvents = 4096;

/** The same for events of the node. An image may have many names. */
const maxNodeEventBytes = 4 * 1024 * 1024;

/** The events of both stores, in the encoding of the CRI. */
export function feedOf(
  sandboxes: SandboxContext,
  containerStore: CriContext["containers"]["store"],
  { maxMessageBytes }: Config["server"],
): EventFeed {
  const encode = (event: PodEvent) => encodedContainerEvent(event, maxMessageBytes);
  // RunPodSandbox makes two events at once, which a reader cannot read between.
  const limits = { events: maxWaitingEvents, bytes: 2 * maxMessageBytes };
  return new EventFeed({ ...sandboxes, containerStore, encode, limits });
}

/** The events of the node, which are small and rare. */
export function nodeEventsOf(
  clock: Clock,
  log: Logger,
): { readonly nodeEvents: NodeEvents; readonly onEvent: NodeEvents["publish"] } {
  const limits = { events: maxWaitingEvents, bytes: maxNodeEventBytes };
  const nodeEvents = new NodeEvents({ encode: encodedNodeEvent, limits, clock, log });
  return { nodeEvents, onEvent: nodeEvents.publish };
}
