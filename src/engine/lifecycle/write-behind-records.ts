import type { Digest } from "../../base/digest.ts";
import { messageOf } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Container, ContainerRecords } from "../../core/container/index.ts";
import type { Image, ImageRecords } from "../../core/image/index.ts";
import type { Attachment, AttachmentRecords } from "../../core/network/index.ts";
import type { Sandbox, SandboxRecords, SetAsideRecord } from "../../core/sandbox/index.ts";

type AllRecords = SandboxRecords & ContainerRecords & AttachmentRecords & ImageRecords;

const firstPauseMs = 500;
const maxPauseMs = 5_000;

/**
 * Records in which terminal states are written behind.
 *
 * When the disk is full or fails, a new object cannot be recorded: the client gets an error and
 * nothing is created. A terminal state is different. That an object has ended, was stopped or is being
 * removed is true even if it cannot be written, and stops and removals are what frees space. So such
 * a write does not fail: it is retried until it succeeds or a newer write replaces it. If the daemon
 * dies first, the recovery of the next one finds the state out again from the kernel.
 */
export class WriteBehindRecords implements AllRecords, Disposable {
  readonly #records: AllRecords;
  readonly #log: Logger;
  readonly #pending = new Map<string, () => void>();
  #timer: NodeJS.Timeout | undefined;

  constructor(records: AllRecords, log: Logger) {
    this.#records = records;
    this.#log = log;
  }

  loadSandboxes(): readonly Sandbox[] {
    return this.#records.loadSandboxes();
  }

  putSandbox(sandbox: Sandbox): void {
    const { name } = sandbox.state;
    this.#write(`sandbox "${sandbox.id}"`, name === "dead" || name === "stopped", () => {
      this.#records.putSandbox(sandbox);
    });
  }

  deleteSandbox(id: string): void {
    this.#write(`sandbox "${id}"`, true, () => {
      this.#records.deleteSandbox(id);
    });
  }

  setAsideSandbox(id: string, reason: string): void {
    this.#records.setAsideSandbox(id, reason);
  }

  setAside(): readonly SetAsideRecord[] {
    return this.#records.setAside();
  }

  loadContainers(): readonly Container[] {
    return this.#records.loadContainers();
  }

  putContainer(container: Container): void {
    this.#write(`container "${container.id}"`, container.state.name === "exited", () => {
      this.#records.putContainer(container);
    });
  }

  deleteContainer(id: string): void {
    this.#write(`container "${id}"`, true, () => {
      this.#records.deleteContainer(id);
    });
  }

  loadAttachments(): readonly Attachment[] {
    return this.#records.loadAttachments();
  }

  putAttachment(attachment: Attachment): void {
    const { sandboxId, removal } = attachment;
    this.#write(`network of sandbox "${sandboxId}"`, removal !== undefined, () => {
      this.#records.putAttachment(attachment);
    });
  }

  deleteAttachment(sandboxId: string): void {
    this.#write(`network of sandbox "${sandboxId}"`, true, () => {
      this.#records.deleteAttachment(sandboxId);
    });
  }

  loadImages(): readonly Image[] {
    return this.#records.loadImages();
  }

  putImage(image: Image): void {
    this.#write(`image "${image.id}"`, false, () => {
      this.#records.putImage(image);
    });
  }

  deleteImage(id: Digest): void {
    this.#write(`image "${id}"`, true, () => {
      this.#records.deleteImage(id);
    });
  }

  /** The records whose last write is still pending. */
  pendingWrites(): readonly string[] {
    return [...this.#pending.keys()];
  }

  /** Tries the pending writes a last time, when the daemon exits. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#retry();
    clearTimeout(this.#timer);
  }

  #write(key: string, isTerminal: boolean, write: () => void): void {
    try {
      write();
      this.#pending.delete(key);
    } catch (error) {
      if (!isTerminal) throw error;
      this.#log.error("cannot persist terminal state (disk full?); will retry", {
        record: key,
        error: messageOf(error),
      });
      this.#pending.set(key, write);
      this.#schedule(firstPauseMs);
    }
  }

  #schedule(pauseMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      this.#retry(pauseMs * 2);
    }, pauseMs).unref();
  }

  #retry(nextPauseMs = firstPauseMs): void {
    for (const [key, write] of this.#pending) {
      try {
        write();
        this.#pending.delete(key);
        this.#log.info("persisted a pending terminal state", { record: key });
      } catch {
        // Logged at the first failure. The other writes would fail for the same reason.
        this.#schedule(Math.min(nextPauseMs, maxPauseMs));
        return;
      }
    }
  }
}
