/**
 * What outlives the daemon: sandboxes, their attachments, containers and images, as rows of one
 * SQLite database. It imports base, gen, core and linux. Start at `records.ts`; `schema.ts` holds
 * the tables, each `*-row.ts` the content of a row, and `checkpointer.ts` explains why no write waits
 * for the disk.
 */
export { FileAttachmentNotes } from "./attachment-notes.ts";
export { FileImageUses } from "./image-uses.ts";
export { inspectRecords, knownSchema, type RecordsInspection } from "./inspect.ts";
export { Records } from "./records.ts";
export { type Tables, WriteBehindRecords } from "./write-behind.ts";
