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
 * The records, where an end is never refused.
 *
 * A disk that is full or cannot be written refuses what is new: the client hears of it, and nothing
 * is made. But that something has ended, was stopped or is being removed stays true whether or not
 * it can be written, and to stop and remove is how a disk gets room again. Such a write that fails
 * is owed: tried again until it works or a newer one has taken its place. A daemon that dies before
 * finds the same out again, since recovery asks the kernel.
 */
export class WriteBehindRecords implements AllRecords, Disposable {
  readonly #records: AllRecords;
  readonly #log: Logger;
  readonly #owed = new Map<string, () => void>();
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

  /** What could not be written yet. */
  pendingWrites(): readonly string[] {
    return [...this.#owed.keys()];
  }

  /** Tries once more and no longer, as at the daemon's end. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#retry();
    clearTimeout(this.#timer);
  }

  #write(key: string, mayBeLate: boolean, write: () => void): void {
    try {
      write();
      this.#owed.delete(key);
    } catch (error) {
      if (!mayBeLate) throw error;
      this.#log.error("an end could not be recorded yet; make room for the records", {
        record: key,
        error: messageOf(error),
      });
      this.#owed.set(key, write);
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
    for (const [key, write] of this.#owed) {
      try {
        write();
        this.#owed.delete(key);
        this.#log.info("recorded an end that had been waiting for it", { record: key });
      } catch {
        // Told when it failed first. Whatever hinders this one hinders the others.
        this.#schedule(Math.min(nextPauseMs, maxPauseMs));
        return;
      }
    }
  }
}
