import { limits, type SharedMemory } from "./limits.ts";
import { ConnectionError, errorCode } from "./protocol.ts";

/**
 * What a client may send on a connection. Data is credited when it arrives, so that a stream whose handler does not read
 * does not stop the others, unless handlers have left too much unread.
 */
export class ReceiveWindow {
  readonly #memory: SharedMemory;
  readonly #sendUpdate: (bytes: number) => void;
  #left: number = limits.connectionWindowBytes;
  #received = 0;
  #unread = 0;

  /** @param sendUpdate lets the client send so much more */
  constructor(memory: SharedMemory, sendUpdate: (bytes: number) => void) {
    this.#memory = memory;
    this.#sendUpdate = sendUpdate;
  }

  /** The client sends data. @throws ConnectionError when that is more than it may send. */
  receive(bytes: number): void {
    this.#left -= bytes;
    this.#received += bytes;
    if (this.#left >= 0) return;
    throw new ConnectionError(errorCode.flowControlError, "more data than the window allows");
  }

  /** Data waits for its handler; negative when it was read. False when all connections have too much of it. */
  hold(bytes: number): boolean {
    this.#unread += bytes;
    this.#memory.unreadBytes += bytes;
    if (bytes < 0) this.update();
    return this.#memory.unreadBytes <= limits.maxTotalUnreadBytes;
  }

  /** Credits what has arrived, if that is worth a frame. */
  update(): void {
    const bytes = this.#received;
    if (bytes < limits.connectionWindowBytes / 2 || this.#unread > limits.maxUnreadBytes) return;
    this.#received = 0;
    this.#left += bytes;
    this.#sendUpdate(bytes);
  }
}
