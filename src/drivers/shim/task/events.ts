import { messageOf } from "../../../base/errors.ts";
import type { Logger } from "../../../base/logger.ts";
import { TaskExitSchema, TaskOOMSchema } from "../../../gen/containerd/events/task_pb.ts";
import { Events } from "../../../gen/containerd/services/events/ttrpc/v1/events_pb.ts";
import type { Envelope } from "../../../gen/containerd/types/event_pb.ts";
import { decodeBounded } from "../../../wire/protobuf.ts";
import { TtrpcServer, unaryMethod } from "../../../wire/ttrpc/index.ts";

/** Handles events. They are hints: shims send them twice, late or never. */
export interface ShimEventListener {
  /** The kernel killed a process of the container for lack of memory. */
  outOfMemory(containerId: string): void;
}

/** The service that shims send their events to. */
export class ShimEvents {
  readonly #server: TtrpcServer;
  readonly #listener: ShimEventListener;
  readonly #log: Logger;

  private constructor(listener: ShimEventListener, log: Logger) {
    this.#listener = listener;
    this.#log = log;
    const forward = unaryMethod(Events.method.forward, ({ envelope }) => {
      if (envelope !== undefined) this.#handle(envelope);
      return Promise.resolve({});
    });
    this.#server = new TtrpcServer({ methods: new Map([forward]), log });
  }

  static async open(path: string, listener: ShimEventListener, log: Logger): Promise<ShimEvents> {
    const events = new ShimEvents(listener, log);
    await events.#server.listen(path, { mode: 0o600 });
    return events;
  }

  async close(): Promise<void> {
    await this.#server.stop();
  }

  #handle({ topic, event }: Envelope): void {
    if (event === undefined) return;
    const type = event.typeUrl.slice(event.typeUrl.lastIndexOf("/") + 1);
    try {
      if (type === TaskOOMSchema.typeName) {
        this.#listener.outOfMemory(decodeBounded(TaskOOMSchema, event.value).containerId);
      } else if (type === TaskExitSchema.typeName) {
        const { containerId, id, pid, exitStatus } = decodeBounded(TaskExitSchema, event.value);
        const fields = { container: containerId, process: id, pid, exitStatus };
        this.#log.debug("a shim reported an exit", fields);
      }
    } catch (error) {
      this.#log.warn(`failed to read event "${topic}" of a shim: ${messageOf(error)}`);
    }
  }
}
