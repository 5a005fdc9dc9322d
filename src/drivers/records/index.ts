/**
 * What outlives the daemon: sandboxes, their attachments, containers and images, as rows of one
 * SQLite database. It imports base, gen, core and linux. Start at `records.ts`; `schema.ts` holds
 * the tables, each `*-row.ts` says what is in a row, and `checkpointer.ts` why no write ever waits
 * for the disk.
 */
export { FileAttachmentNotes } from "./attachment-notes.ts";
export { Records } from "./records.ts";
export { type Tables, WriteBehindRecords } from "./write-behind.ts";
