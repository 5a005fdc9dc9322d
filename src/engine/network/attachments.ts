import type { Attachment, NotedAttachmentRecords } from "../../core/network/index.ts";

/** The attachments of this daemon's sandboxes: in memory, written through to the records. */
export class Attachments {
  readonly #records: NotedAttachmentRecords;
  readonly #byId = new Map<string, Attachment>();

  constructor(records: NotedAttachmentRecords) {
    this.#records = records;
  }

  /** Reads what an earlier daemon left. */
  load(): void {
    for (const attachment of this.#records.loadAttachments()) {
      this.#byId.set(attachment.sandboxId, attachment);
    }
  }

  /** Puts what is being made: nothing but its removal may be put without a note that outlives the record. */
  async putNoted(attachment: Attachment): Promise<void> {
    const { sandboxId } = attachment;
    await this.#records.noteAttachment(attachment);
    try {
      this.put(attachment);
    } catch (error) {
      // Of what is refused nothing is made: there is nothing that a note could tell of.
      if (!this.#byId.has(sandboxId)) await this.#records.deleteNote(sandboxId);
      throw error;
    }
  }

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
