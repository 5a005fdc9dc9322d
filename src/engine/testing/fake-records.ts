import { RuntimeError } from "../../base/errors.ts";
import type { Container } from "../../core/container/index.ts";
import type { Image } from "../../core/image/index.ts";
import type { Attachment, AttachmentNotes } from "../../core/network/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { KnownIds, RecordTable, SetAsideRecord } from "../../core/store/index.ts";
import { Trouble } from "./trouble.ts";

/** A table in memory, on a disk that can be full. */
export class FakeTable<T> implements RecordTable<T> {
  readonly rows = new Map<string, T>();
  readonly #keyOf: (record: T) => string;
  readonly #isFull: () => boolean;

  constructor(keyOf: (record: T) => string, isFull: () => boolean) {
    this.#keyOf = keyOf;
    this.#isFull = isFull;
  }

  load(): readonly T[] {
    return [...this.rows.values()];
  }

  put(record: T): void {
    this.#checkSpace();
    this.rows.set(this.#keyOf(record), record);
  }

  delete(key: string): void {
    this.#checkSpace();
    this.rows.delete(key);
  }

  #checkSpace(): void {
    if (this.#isFull())
      throw new RuntimeError("resource-exhausted", "write the record: the disk is full");
  }
}

/** All records of a daemon in memory. */
export class FakeRecords {
  readonly sandboxes = this.#table<Sandbox>(({ id }) => id);
  readonly containers = this.#table<Container>(({ id }) => id);
  readonly images = this.#table<Image>(({ id }) => id);
  readonly attachments = this.#table<Attachment>(({ sandboxId }) => sandboxId);
  readonly notes = new FakeNotes();
  readonly aside: SetAsideRecord[] = [];
  readonly trouble = new Trouble<"synced">();
  /** Nothing can be written or deleted. */
  full = false;

  setAside(): readonly SetAsideRecord[] {
    return this.aside;
  }

  async synced(): Promise<void> {
    await this.trouble.at("synced");
  }

  /** Makes the record of a sandbox one that cannot be read. */
  setAsideSandbox(id: string, reason: string): void {
    this.sandboxes.rows.delete(id);
    this.aside.push({ kind: "sandbox", id, reason });
  }

  #table<T>(keyOf: (record: T) => string): FakeTable<T> {
    return new FakeTable(keyOf, () => this.full);
  }
}

/** The notes of attachments in memory. None of them outlives its record. */
class FakeNotes implements AttachmentNotes {
  readonly ids = new Set<string>();

  load(_recorded: KnownIds): readonly Attachment[] {
    return [];
  }

  async note({ sandboxId }: Attachment): Promise<void> {
    this.ids.add(sandboxId);
  }

  async delete(sandboxId: string): Promise<void> {
    this.ids.delete(sandboxId);
  }
}
