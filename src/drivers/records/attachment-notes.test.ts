import assert from "node:assert/strict";
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
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

  test("use the last complete line of a truncated note, and keep those without the fields", async () => {
    await notes.note(attachment);
    await notes.note({ ...attachment, result: "done" });
    const path = join(directory, "a");
    truncateSync(path, JSON.stringify(attachment).length + 5);
    writeFileSync(join(directory, "d"), "{}\n");
    assert.deepEqual(notes.load(none), [attachment]);
    assert.ok(existsSync(join(directory, "d")));
  });

  test("use the last line that a power cut has left of their own", async () => {
    await notes.note(attachment);
    const path = join(directory, "a");
    const other = JSON.stringify({ ...attachment, sandboxId: "other" });
    for (const rest of [Buffer.alloc(300), "\0\xff\n\x01\0\n", `${other}\n{"sandboxId"`]) {
      appendFileSync(path, rest);
      assert.deepEqual(notes.load(none), [attachment]);
    }
  });

  test("are removed if a power cut has left nothing of them, with a warning that names the sandbox", async () => {
    await notes.note(attachment);
    const contents = {
      empty: "",
      zeros: Buffer.alloc(400),
      others: `${JSON.stringify(attachment)}\n`,
      random: Buffer.from("\x80\n\xff{}\n\0\n[", "latin1"),
    };
    for (const [name, content] of Object.entries(contents)) {
      writeFileSync(join(directory, name), content);
    }
    const log = new MemoryLogger();
    const next = new FileAttachmentNotes({ directory, log });
    assert.deepEqual(next.load(none), [attachment]);
    assert.deepEqual(readdirSync(directory), ["a"]);
    const messages = log.lines.map(({ message }) => message);
    assert.equal(messages.length, 4);
    for (const name of Object.keys(contents)) {
      const warning = `incomplete note of the network of sandbox "${name}", as a power cut leaves it`;
      assert.ok(messages.some((message) => message.includes(warning)));
    }
    next.load(none);
    assert.equal(log.lines.length, 4);
  });

  test("name the sandbox when a note cannot be written", async () => {
    writeFileSync(directory, "in the way");
    await assert.rejects(notes.note(attachment), /note network of sandbox "a": /);
  });
});
