import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isKind, messageOf, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type {
  Attachment,
  AttachmentRecords,
  NotedAttachmentRecords,
} from "../../core/network/index.ts";
import { errnoCode } from "../../base/system-error.ts";
import { type FileStep, removeTree, runFileSteps } from "../../linux/file/index.ts";
import { type JsonObject, parseObject } from "./conflist.ts";

/** What an {@link AttachmentNotes} is made of. */
export interface AttachmentNotesOptions {
  /** The records proper, in the database. */
  readonly records: AttachmentRecords;
  /** Directory of the notes, made where it is not there; a file for each sandbox. */
  readonly directory: string;
  readonly log: Logger;
}

/**
 * Records of attachments that outlive the loss of the database. Beside each record lies a note, a file
 * named by the sandbox, from before the first plugin runs until the last DEL worked. So addresses and
 * rules come free by DEL, of whatever plugins, and only those are touched that davit itself asked for:
 * nothing is guessed from what plugins keep (docs/decisions/0009-network-leftovers.md).
 *
 * A note is only appended to, a line each time, and the last whole line counts: that needs neither a
 * rename nor a sync. Of tries to remove nothing is noted.
 */
export class AttachmentNotes implements NotedAttachmentRecords {
  readonly #options: AttachmentNotesOptions;

  constructor(options: AttachmentNotesOptions) {
    this.#options = options;
  }

  /** What is on record, and what only a note tells of. A note that cannot be read stays and is reported. */
  loadAttachments(): readonly Attachment[] {
    const recorded = this.#options.records.loadAttachments();
    const known = new Set(recorded.map(({ sandboxId }) => sandboxId));
    const lost = this.#noted().filter((sandboxId) => !known.has(sandboxId));
    return [...recorded, ...lost.flatMap((sandboxId) => this.#read(sandboxId))];
  }

  async noteAttachment(attachment: Attachment): Promise<void> {
    const { directory } = this.#options;
    const path = this.#path(attachment.sandboxId);
    const text = `${JSON.stringify(attachment)}\n`;
    const append: FileStep = { step: "append-to-file", path, mode: 0o600, text };
    try {
      try {
        await runFileSteps([append]);
      } catch (cause) {
        if (!isKind(cause, "not-found")) throw cause;
        const made = { path: directory, mode: 0o700, mayExist: true };
        await runFileSteps([{ step: "make-directory", ...made }, append]);
      }
    } catch (cause) {
      throw wrap(`note network of sandbox "${attachment.sandboxId}"`, cause);
    }
  }

  putAttachment(attachment: Attachment): void {
    this.#options.records.putAttachment(attachment);
  }

  deleteAttachment(sandboxId: string): void {
    this.#options.records.deleteAttachment(sandboxId);
  }

  async deleteNote(sandboxId: string): Promise<void> {
    try {
      await removeTree(this.#path(sandboxId));
    } catch (error) {
      // The next start does a DEL too many, which does nothing.
      this.#options.log.warn("a note of a network that is gone could not be deleted", {
        sandboxId,
        error: messageOf(error),
      });
    }
  }

  #noted(): readonly string[] {
    try {
      return readdirSync(this.#options.directory);
    } catch (cause) {
      if (errnoCode(cause) !== "ENOENT") {
        this.#options.log.error("the notes of networks cannot be read", { error: cause });
      }
      return [];
    }
  }

  #read(sandboxId: string): readonly Attachment[] {
    const path = this.#path(sandboxId);
    try {
      const lines = readFileSync(path, "utf8").split("\n");
      // What follows the last newline is half a line, or nothing.
      return [parseNote(sandboxId, lines.at(-2) ?? "")];
    } catch (error) {
      this.#options.log.warn("the note of a network cannot be read, its address may stay taken", {
        path,
        error: messageOf(error),
      });
      return [];
    }
  }

  #path(sandboxId: string): string {
    return join(this.#options.directory, sandboxId);
  }
}

function parseNote(sandboxId: string, line: string): Attachment {
  const note = parseObject(line);
  const { result } = note;
  return {
    sandboxId,
    ifName: text(note, "ifName"),
    netnsPath: text(note, "netnsPath"),
    conflist: text(note, "conflist"),
    args: text(note, "args"),
    result: typeof result === "string" ? result : undefined,
    bootId: text(note, "bootId"),
    removal: undefined,
  };
}

function text(note: JsonObject, key: string): string {
  const value = note[key];
  if (typeof value === "string") return value;
  throw new TypeError(`"${key}" is missing`);
}
