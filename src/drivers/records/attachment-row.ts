import type { Attachment } from "../../core/network/index.ts";
import { Fields } from "./fields.ts";
import { checkVersion, type Row, textOf } from "./row.ts";
import type { RowFormat } from "./table.ts";

/** The version of the records that are written: the column `version`, and `v` in the JSON. */
const version = 1;

/** Attachments: one JSON text each; their sandbox's id is the row's key. */
export const attachmentRows: RowFormat<Attachment> = {
  kind: "attachment",
  noun: "attachment of sandbox",
  key: "sandbox_id",
  keyOf: (attachment) => attachment.sandboxId,
  columns: (attachment) => ({
    sandbox_id: attachment.sandboxId,
    version,
    body: JSON.stringify({ v: version, ...attachment, sandboxId: undefined }),
  }),
  parse,
};

function parse(row: Row): Attachment {
  checkVersion(row, version);
  const fields = Fields.parse(textOf(row, "body"), version);
  const removal = fields.optionalObject("removal");
  return {
    sandboxId: textOf(row, "sandbox_id"),
    ifName: fields.string("ifName"),
    netnsPath: fields.string("netnsPath"),
    conflist: fields.string("conflist"),
    args: fields.string("args"),
    result: fields.optionalString("result"),
    bootId: fields.string("bootId"),
    removal: removal && {
      tries: removal.integer("tries"),
      firstTriedAtMs: removal.integer("firstTriedAtMs"),
      lastError: removal.string("lastError"),
      queued: removal.boolean("queued"),
    },
  };
}
