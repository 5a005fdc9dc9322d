import type { Attachment, AttachmentRecords } from "../../core/network/index.ts";

/** The attachments of this daemon's sandboxes: in memory, written through to the records. */
export class Attachments {
  readonly #records: AttachmentRecords;
  readonly #byId = new Map<string, Attachment>();

  constructor(records: AttachmentRecords) {
    this.#records = records;
  }

  /** Reads what an earlier daemon left. */
  load(): void {
    for (const attachment of this.#records.loadAttachments()) {
      this.#byId.set(attachment.sandboxId, attachment);
    }
  }

  put(attachment: Attachment): void {
    this.#records.putAttachment(attachment);
    this.#byId.set(attachment.sandboxId, attachment);
  }

  delete(sandboxId: string): void {
    this.#records.deleteAttachment(sandboxId);
    this.#byId.delete(sandboxId);
  }

  find(sandboxId: string): Attachment | undefined {
    return this.#byId.get(sandboxId);
  }

  all(): readonly Attachment[] {
    return [...this.#byId.values()];
  }
}
