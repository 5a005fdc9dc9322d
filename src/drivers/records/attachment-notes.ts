import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isKind, messageOf, wrap } from "../../base/errors.ts";
import type { Logger } from "../../base/logger.ts";
import type { Attachment, AttachmentNotes } from "../../core/network/index.ts";
import type { KnownIds } from "../../core/store/index.ts";
import { errnoCode } from "../../base/system-error.ts";
import { type FileStep, removeTree, runFileSteps } from "../../linux/file/index.ts";

/** Where notes are kept. */
interface AttachmentNotesOptions {
  /** Directory of the notes, created when needed; it has a file for each sandbox. */
  readonly directory: string;
  readonly log: Logger;
}

type Json = Readonly<Record<string, unknown>>;

/**
 * A note for each attachment: a file named by the sandbox, from before the first plugin runs until the
 * last DEL succeeded. When the database is lost, addresses and rules are still freed by DEL, whatever the
 * plugins, and only those that davit itself requested: nothing is guessed from the state of plugins
 * (docs/decisions/0009-network-leftovers.md).
 *
 * Lines are appended to a note, and its last complete line counts: that needs neither a rename nor a sync. After a power
 * cut, bytes that were not synced may be missing, be zeros, or be those of another file (ext4 with data=writeback).
 * Attempts to remove an attachment are not noted.
 */
export class FileAttachmentNotes implements AttachmentNotes {
  readonly #options: AttachmentNotesOptions;

  constructor(options: AttachmentNotesOptions) {
    this.#options = options;
  }

  /**
   * A note that cannot be read, as that of a newer davit, is kept, with a warning. One that has no line of its sandbox is
   * removed, with a warning: a power cut has taken its content.
   */
  load(recorded: KnownIds): readonly Attachment[] {
    const lost = this.#noted().filter((sandboxId) => !recorded.has(sandboxId));
    return lost.flatMap((sandboxId) => this.#read(sandboxId));
  }

  async note(attachment: Attachment): Promise<void> {
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

  async delete(sandboxId: string): Promise<void> {
    try {
      await removeTree(this.#path(sandboxId));
    } catch (error) {
      // The next start runs a DEL for it, which has nothing to remove.
      this.#options.log.warn("cannot delete the note of a removed network", {
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
        this.#options.log.error("cannot read the notes of networks", { error: cause });
      }
      return [];
    }
  }

  #read(sandboxId: string): readonly Attachment[] {
    const path = this.#path(sandboxId);
    try {
      const note = lastNote(sandboxId, readFileSync(path, "utf8"));
      if (note === undefined) {
        rmSync(path, { force: true });
        const problem = `removed the incomplete note of the network of sandbox "${sandboxId}", as a power cut leaves it`;
        const advice = "if an address stays in use, see docs/troubleshooting.md";
        this.#options.log.warn(`${problem}; ${advice}`);
        return [];
      }
      return [parseNote(sandboxId, note)];
    } catch (error) {
      this.#options.log.warn("cannot read the note of a network, its address may stay in use", {
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

/** The last complete line that is a note, and not that of another sandbox. */
function lastNote(sandboxId: string, content: string): Json | undefined {
  // After the last newline comes an incomplete line, or nothing.
  const notes = content.split("\n").slice(0, -1).flatMap(parseLine);
  return notes.findLast(({ sandboxId: id = sandboxId }) => id === sandboxId);
}

function parseLine(line: string): readonly Json[] {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? [value as Json] : [];
  } catch {
    return [];
  }
}

function parseNote(sandboxId: string, note: Json): Attachment {
  const result = note["result"];
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

function text(note: Json, key: string): string {
  const value = note[key];
  if (typeof value === "string") return value;
  throw new TypeError(`"${key}" is missing`);
}
