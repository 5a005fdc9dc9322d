/**
 * What outlives the daemon: sandboxes and attachments, as rows of one SQLite database. It imports
 * base, gen, core and linux. Start at `records.ts`; `schema.ts` holds the tables, `checkpointer.ts`
 * says why no write ever waits for the disk.
 */
export type { RecordCounts, RecordsDeps } from "./records.ts";
export { Records } from "./records.ts";
