// What happens to containers and sandboxes, for any number of readers. Start reading with feed.ts.
export { EventFeed, type EventKind, type PodEvent } from "./feed.ts";
export type { NodeEvent } from "./node-event.ts";
export { NodeEvents } from "./node-events.ts";
export { type QueueLimits, Subscription } from "./subscription.ts";
