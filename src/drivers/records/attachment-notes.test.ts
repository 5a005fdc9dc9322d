import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import { silentLogger } from "../../base/logger.ts";
import type { Attachment } from "../../core/network/index.ts";
import { FileAttachmentNotes } from "./attachment-notes.ts";
import { MemoryLogger } from "./testing/sample.ts";

let directory: string;
let notes: FileAttachmentNotes;
const none = new Set<string>();

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
  notes = new FileAttachmentNotes({ directory, log: silentLogger });
});
afterEach(() => {
  rmSync(join(directory, ".."), { recursive: true });
});

describe("FileAttachmentNotes", () => {
  test("keep the newest state of an attachment until it is deleted", async () => {
    assert.deepEqual(notes.load(none), []);
    await notes.note(attachment);
    await notes.note({ ...attachment, result: "done" });
    assert.deepEqual(notes.load(none), [{ ...attachment, result: "done" }]);
    await notes.delete("a");
    assert.deepEqual(readdirSync(directory), []);
    await notes.delete("a");
  });

  test("are not read for recorded attachments", async () => {
    await notes.note(attachment);
    assert.deepEqual(notes.load(new Set(["a"])), []);
  });

  test("use the last complete line of a truncated note, and keep invalid ones", async () => {
    await notes.note(attachment);
    await notes.note({ ...attachment, result: "done" });
    const path = join(directory, "a");
    truncateSync(path, JSON.stringify(attachment).length + 5);
    writeFileSync(join(directory, "b"), "rubbish\n");
    writeFileSync(join(directory, "d"), "{}\n");
    assert.deepEqual(notes.load(none), [attachment]);
    assert.ok(existsSync(join(directory, "b")));
  });

  test("are removed if a power cut has left none of their bytes, with a warning that names the sandbox", async () => {
    await notes.note(attachment);
    writeFileSync(join(directory, "empty"), "");
    writeFileSync(join(directory, "zeros"), Buffer.alloc(400));
    const log = new MemoryLogger();
    const next = new FileAttachmentNotes({ directory, log });
    assert.deepEqual(next.load(none), [attachment]);
    assert.deepEqual(readdirSync(directory), ["a"]);
    const [first, second, ...others] = log.lines.map(({ message }) => message).sort();
    assert.match(first ?? "", /sandbox "empty", as a power cut leaves it/);
    assert.match(second ?? "", /sandbox "zeros"/);
    assert.deepEqual(others, []);
    next.load(none);
    assert.equal(log.lines.length, 2);
  });

  test("name the sandbox when a note cannot be written", async () => {
    writeFileSync(directory, "in the way");
    await assert.rejects(notes.note(attachment), /note network of sandbox "a": /);
  });
});
