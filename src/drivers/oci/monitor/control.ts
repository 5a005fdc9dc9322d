import { connectPackets, type DescriptorStream } from "../../../linux/stream/index.ts";
import type { StateLayout } from "../state-layout.ts";

/** The longest input of a packet (native/monitor.c). */
const packetBytes = 8 * 1024;

/**
 * Connects to a davit-monitor and says what the connection is for: `o` gets the container's output, `i` also has packets
 * of input, `c` has requests. `failed-precondition` when no process listens. A connection that fails later is closed.
 */
export function connectMonitor(
  paths: StateLayout,
  id: string,
  purpose: "o" | "i" | "c",
): DescriptorStream {
  const socket = connectPackets(paths.file(id, "attach"), packetBytes);
  socket.on("error", () => undefined).write(purpose);
  return socket;
}

/** A connection for requests. Each gets one answer, in their order. */
export class ControlConnection implements Disposable {
  readonly #socket: DescriptorStream;
  readonly #waiting: ((answer: string | undefined) => void)[] = [];

  constructor(paths: StateLayout, id: string) {
    this.#socket = connectMonitor(paths, id, "c");
    this.#socket.on("data", (packet: Buffer) => {
      this.#waiting.shift()?.(packet.toString("latin1"));
    });
    const onEnd = (): void => {
      for (const answer of this.#waiting.splice(0)) answer(undefined);
    };
    this.#socket.on("end", onEnd).on("close", onEnd);
  }

  /**
   * Sends a request, with a descriptor where one is given, which stays open here. Resolves to the answer, or to undefined
   * when the monitor closes the connection. Throws SystemError when it cannot be sent.
   */
  async request(text: string, fd?: number): Promise<string | undefined> {
    if (this.#socket.destroyed || this.#socket.readableEnded) return undefined;
    const { promise, resolve } = Promise.withResolvers<string | undefined>();
    this.#waiting.push(resolve);
    if (fd === undefined) this.#socket.write(text);
    else this.#socket.sendDescriptor(Buffer.from(text), fd);
    return promise;
  }

  /** Settles requests that wait: to their answer if there is one already. Later the monitor cannot answer any more. */
  giveUp(): void {
    this.#socket.refuseInput();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }
}
