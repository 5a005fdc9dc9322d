import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { RuntimeError } from "../../base/errors.ts";
import type { Attachment } from "../../core/network/index.ts";
import { Attachments } from "./attachments.ts";

const attachment: Attachment = {
  sandboxId: "a",
  ifName: "eth0",
  netnsPath: "",
  conflist: "",
  args: "",
  result: undefined,
  bootId: "",
  removal: undefined,
};

let isFull: boolean;
let done: string[];
let attachments: Attachments;

beforeEach(() => {
  isFull = false;
  done = [];
  const records = {
    load: () => [],
    put: () => {
      if (isFull) throw new RuntimeError("resource-exhausted", "full");
      done.push("put");
    },
    delete: () => void done.push("delete"),
  };
  const notes = {
    load: () => [],
    note: async () => {
      await Promise.resolve();
      done.push("note");
    },
    delete: async () => {
      await Promise.resolve();
      done.push("delete note");
    },
  };
  attachments = new Attachments(records, notes);
});

test("an attachment is noted before it is recorded, and its note is deleted after its record", async () => {
  await attachments.putNoted(attachment);
  await attachments.putNoted({ ...attachment, result: "done" });
  assert.equal(attachments.find("a")?.result, "done");
  await attachments.delete("a");
  assert.deepEqual(done, ["note", "put", "note", "put", "delete", "delete note"]);
  assert.equal(attachments.find("a"), undefined);
});

test("a failed record leaves no note, unless there was one before", async () => {
  isFull = true;
  await assert.rejects(attachments.putNoted(attachment), /full/);
  assert.deepEqual(done, ["note", "delete note"]);
  assert.deepEqual(attachments.all(), []);

  isFull = false;
  await attachments.putNoted(attachment);
  isFull = true;
  done = [];
  await assert.rejects(attachments.putNoted({ ...attachment, result: "done" }), /full/);
  assert.deepEqual(done, ["note"]);
  assert.equal(attachments.find("a")?.result, undefined);
});
