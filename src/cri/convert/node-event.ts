import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import type { NodeEvent } from "../../engine/events/index.ts";
import { EventsResponseSchema } from "../../gen/davit/v1/daemon_pb.ts";

/** An event of davit.v1.Daemon/Events, encoded. */
export function encodedNodeEvent(event: NodeEvent, timeNs: bigint): Uint8Array {
  return toBinary(
    EventsResponseSchema,
    create(EventsResponseSchema, { timeNs, event: partOf(event) }),
  );
}

function partOf(
  event: NodeEvent,
): NonNullable<MessageInitShape<typeof EventsResponseSchema>["event"]> {
  switch (event.kind) {
    case "image-pulled":
      return { case: "imagePulled", value: { id: event.id, name: event.name } };
    case "image-removed":
      return { case: "imageRemoved", value: { id: event.id, names: [...event.names] } };
    case "oom-killed": {
      const { containerId, sandboxId } = event;
      return { case: "oomKilled", value: { containerId, sandboxId } };
    }
    case "plugin-connected":
      return { case: "pluginConnected", value: { name: event.name, index: event.index } };
    case "plugin-lost": {
      const { name, index, reason } = event;
      return { case: "pluginLost", value: { name, index, reason } };
    }
  }
}
