import type { Attachment, AttachmentNotes } from "../../core/network/index.ts";
import type { RecordTable } from "../../core/store/index.ts";

/** The network attachments of this daemon's sandboxes, in memory and written through to the database. */
export class Attachments {
  readonly #records: RecordTable<Attachment>;
  readonly #notes: AttachmentNotes;
  readonly #byId = new Map<string, Attachment>();

  constructor(records: RecordTable<Attachment>, notes: AttachmentNotes) {
    this.#records = records;
    this.#notes = notes;
  }

  /** Loads the attachments of the previous daemon, from their records and notes. */
  load(): void {
    for (const attachment of this.#records.load()) this.#byId.set(attachment.sandboxId, attachment);
    for (const lost of this.#notes.load(this.#byId)) this.#byId.set(lost.sandboxId, lost);
  }

  /** Stores an attachment that is being made, with a note that outlives the record. */
  async putNoted(attachment: Attachment): Promise<void> {
    const { sandboxId } = attachment;
    await this.#notes.note(attachment);
    try {
      this.put(attachment);
    } catch (error) {
      // Nothing is made of an attachment that cannot be recorded, so its note is deleted.
      if (!this.#byId.has(sandboxId)) await this.#notes.delete(sandboxId);
      throw error;
    }
  }

  /** Stores an attachment that has a note already. */
  put(attachment: Attachment): void {
    this.#records.put(attachment);
    this.#byId.set(attachment.sandboxId, attachment);
  }

  async delete(sandboxId: string): Promise<void> {
    this.#records.delete(sandboxId);
    this.#byId.delete(sandboxId);
    await this.#notes.delete(sandboxId);
  }

  find(sandboxId: string): Attachment | undefined {
    return this.#byId.get(sandboxId);
  }

  all(): readonly Attachment[] {
    return [...this.#byId.values()];
  }
}
