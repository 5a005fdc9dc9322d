import { within } from "../../base/wait.ts";
import type { Operation } from "../../core/operation/index.ts";
import type { ClientStreams } from "../../core/streaming/index.ts";
import type { DescriptorStream } from "../../linux/stream/index.ts";
import { AttachedClients, tellAttached, untilAttachEnds } from "../../stdio/attached-clients.ts";
import type { LogStream } from "../../stdio/cri-log-lines.ts";
import type { AttachTarget } from "./container-monitor.ts";

/** The first byte of a packet from a monitor says which stream the rest is from. */
const streamOfByte: ReadonlyMap<number | undefined, LogStream> = new Map([
  [2, "stdout"],
  [3, "stderr"],
]);
/** How long a monitor may take to send the last output after the container's end. */
const drainMs = 1_000;

/**
 * Passes what a monitor sends to a client, until the container has ended and the client has taken all output. Rejects
 * when the client lags too far behind or the operation is aborted. Leaves the socket open.
 */
export async function passOutput(
  socket: DescriptorStream,
  target: AttachTarget,
  streams: ClientStreams,
  operation: Operation,
): Promise<void> {
  await tellAttached(streams, operation);
  const clients = new AttachedClients(target.id);
  using attached = clients.add(streams);
  const onPacket = (packet: Buffer): void => {
    const name = streamOfByte.get(packet[0]);
    if (name !== undefined) clients.write(name, packet.subarray(1));
  };
  socket.on("data", onPacket);
  using watch = new CloseWatch(socket);
  try {
    await untilAttachEnds(attached, endOf(watch.closed, target.ended), operation);
  } finally {
    socket.off("data", onPacket);
  }
}

/** Watches whether the monitor has closed a connection, until disposed of. */
class CloseWatch implements Disposable {
  readonly closed: Promise<undefined>;
  readonly #socket: DescriptorStream;
  readonly #onClosed: () => void;

  constructor(socket: DescriptorStream) {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.closed = promise;
    this.#socket = socket;
    this.#onClosed = () => {
      resolve(undefined);
    };
    socket.on("end", this.#onClosed).on("close", this.#onClosed);
    if (socket.destroyed || socket.readableEnded) resolve(undefined);
  }

  [Symbol.dispose](): void {
    this.#socket.off("end", this.#onClosed).off("close", this.#onClosed);
  }
}

/** The monitor ends with its container and closes the connection, unless it hangs. */
async function endOf(closed: Promise<unknown>, ended: Promise<unknown>): Promise<void> {
  await Promise.race([closed, ended]);
  await within(closed, drainMs);
}
