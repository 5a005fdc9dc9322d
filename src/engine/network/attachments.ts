import type { Attachment, NotedAttachmentRecords } from "../../core/network/index.ts";

/** The network attachments of this daemon's sandboxes, in memory and written through to the database. */
export class Attachments {
  readonly #records: NotedAttachmentRecords;
  readonly #byId = new Map<string, Attachment>();

  constructor(records: NotedAttachmentRecords) {
    this.#records = records;
  }

  /** Loads the attachments of the previous daemon. */
  load(): void {
    for (const attachment of this.#records.loadAttachments()) {
      this.#byId.set(attachment.sandboxId, attachment);
    }
  }

  /** Stores an attachment that is being made, with a note that outlives the record. */
  async putNoted(attachment: Attachment): Promise<void> {
    const { sandboxId } = attachment;
    await this.#records.noteAttachment(attachment);
    try {
      this.put(attachment);
    } catch (error) {
      // Nothing is made of an attachment that cannot be recorded, so its note is deleted.
      if (!this.#byId.has(sandboxId)) await this.#records.deleteNote(sandboxId);
      throw error;
    }
  }

  /** Stores an attachment that has a note already. */
  put(attachment: Attachment): void {
    this.#records.putAttachment(attachment);
    this.#byId.set(attachment.sandboxId, attachment);
  }

  async delete(sandboxId: string): Promise<void> {
    this.#records.deleteAttachment(sandboxId);
    this.#byId.delete(sandboxId);
    await this.#records.deleteNote(sandboxId);
  }

  find(sandboxId: string): Attachment | undefined {
    return this.#byId.get(sandboxId);
  }

  all(): readonly Attachment[] {
    return [...this.#byId.values()];
  }
}
