import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { Attachment, AttachmentRecords } from "../../core/network/index.ts";
import { AttachmentNotes } from "./attachment-notes.ts";

let directory: string;
let rows: Map<string, Attachment>;
let notes: AttachmentNotes;

const attachment: Attachment = {
  sandboxId: "a",
  ifName: "eth0",
  netnsPath: "/run/ns/a",
  conflist: "{}",
  args: "{}",
  result: undefined,
  bootId: "boot",
  removal: undefined,
};

beforeEach(() => {
  directory = join(mkdtempSync(join(tmpdir(), "davit-notes-")), "attachments");
  rows = new Map();
  const records: AttachmentRecords = {
    loadAttachments: () => [...rows.values()],
    putAttachment: (each) => void rows.set(each.sandboxId, each),
    deleteAttachment: (id) => void rows.delete(id),
  };
  notes = new AttachmentNotes({ records, directory, log: silentLogger });
});
afterEach(() => {
  rmSync(join(directory, ".."), { recursive: true });
});

async function put(made: Attachment): Promise<void> {
  await notes.noteAttachment(made);
  notes.putAttachment(made);
}

describe("AttachmentNotes", () => {
  test("tell of what the database has lost, with the last result, until it is deleted", async () => {
    assert.deepEqual(notes.loadAttachments(), []);
    await put(attachment);
    await put({ ...attachment, result: "done" });
    rows.clear();
    assert.deepEqual(notes.loadAttachments(), [{ ...attachment, result: "done" }]);
    notes.deleteAttachment("a");
    await notes.deleteNote("a");
    assert.deepEqual(readdirSync(directory), []);
    await notes.deleteNote("a");
  });

  test("never replace what the database knows", async () => {
    await put(attachment);
    const removal = { tries: 2, firstTriedAtMs: 1, lastError: "no", queued: true };
    notes.putAttachment({ ...attachment, removal });
    assert.deepEqual(notes.loadAttachments(), [{ ...attachment, removal }]);
  });

  test("take the last whole line of one that was cut short, and leave rubbish where it is", async () => {
    await put(attachment);
    await put({ ...attachment, result: "done" });
    const path = join(directory, "a");
    truncateSync(path, JSON.stringify(attachment).length + 5);
    writeFileSync(join(directory, "b"), "rubbish\n");
    writeFileSync(join(directory, "c"), "");
    writeFileSync(join(directory, "d"), "{}\n");
    rows.clear();
    assert.deepEqual(notes.loadAttachments(), [attachment]);
    assert.ok(existsSync(join(directory, "b")));
  });

  test("say what was being noted when that fails", async () => {
    writeFileSync(directory, "in the way");
    await assert.rejects(notes.noteAttachment(attachment), /note network of sandbox "a": /);
  });
});
