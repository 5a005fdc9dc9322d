import type { Attachment, AttachmentNotes } from "../../core/network/index.ts";
import type { RecordTable } from "../../core/store/index.ts";

/** The attachments of this daemon's sandboxes: in memory, written through to the records. */
export class Attachments {
  readonly #records: RecordTable<Attachment>;
  readonly #notes: AttachmentNotes;
  readonly #byId = new Map<string, Attachment>();

  constructor(records: RecordTable<Attachment>, notes: AttachmentNotes) {
    this.#records = records;
    this.#notes = notes;
  }

  /** Reads the attachments of an earlier daemon, from their records and notes. */
  load(): void {
    for (const attachment of this.#records.load()) this.#byId.set(attachment.sandboxId, attachment);
    for (const lost of this.#notes.load(this.#byId)) this.#byId.set(lost.sandboxId, lost);
  }

  /** Puts an attachment that is being made, with a note that outlives the record; only removals need none. */
  async putNoted(attachment: Attachment): Promise<void> {
    const { sandboxId } = attachment;
    await this.#notes.note(attachment);
    try {
      this.put(attachment);
    } catch (error) {
      // A refused attachment is not made, so that it needs no note.
      if (!this.#byId.has(sandboxId)) await this.#notes.delete(sandboxId);
      throw error;
    }
  }

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
