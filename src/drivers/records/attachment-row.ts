import type { Attachment } from "../../core/network/index.ts";
import { Fields } from "./fields.ts";
import { checkVersion, type Row, textOf } from "./row.ts";

/** The version of the records that are written: the column `version`, and `v` in the JSON. */
export const attachmentVersion = 1;

/** The JSON of an attachment; its sandbox's id is the row's key. */
export function formatAttachment(attachment: Attachment): string {
  return JSON.stringify({ v: attachmentVersion, ...attachment, sandboxId: undefined });
}

/** The attachment in a row. `data-loss`, naming the column or field, for one that cannot be read. */
export function parseAttachmentRow(row: Row): Attachment {
  checkVersion(row, attachmentVersion);
  const fields = Fields.parse(textOf(row, "body"), attachmentVersion);
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
