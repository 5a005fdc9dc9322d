import type { DatabaseSync } from "node:sqlite";

/**
 * The steps from an empty database to the newest schema: the step at index n leads to version
 * n + 1. A released step is never edited; a change of the tables is a new step at the end. Every
 * version keeps the table `meta`, since an older daemon recognizes a newer database by it.
 *
 * A change of what rows contain that an earlier davit must not read, such as another record version, is a step as
 * well, even an empty one: an earlier davit then refuses the database and changes nothing. Without it, it would
 * set the rows aside.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE meta (
     one INTEGER PRIMARY KEY CHECK (one = 1),
     schema INTEGER NOT NULL,
     created_at INTEGER NOT NULL
   ) STRICT;
   CREATE TABLE sandbox (
     id TEXT NOT NULL PRIMARY KEY,
     name TEXT NOT NULL,
     version INTEGER NOT NULL,
     recorded_at INTEGER NOT NULL,
     request BLOB NOT NULL,
     resources BLOB,
     state TEXT NOT NULL
   ) STRICT;
   CREATE TABLE attachment (
     sandbox_id TEXT NOT NULL PRIMARY KEY,
     version INTEGER NOT NULL,
     body TEXT NOT NULL
   ) STRICT;
   CREATE TABLE set_aside (
     seq INTEGER PRIMARY KEY,
     kind TEXT NOT NULL,
     id TEXT NOT NULL,
     reason TEXT NOT NULL,
     at INTEGER NOT NULL,
     body BLOB NOT NULL
   ) STRICT;`,
  `CREATE TABLE container (
     id TEXT NOT NULL PRIMARY KEY,
     name TEXT NOT NULL,
     sandbox_id TEXT NOT NULL,
     version INTEGER NOT NULL,
     recorded_at INTEGER NOT NULL,
     request BLOB NOT NULL,
     resources BLOB,
     state TEXT NOT NULL
   ) STRICT;
   CREATE TABLE image (
     id TEXT NOT NULL PRIMARY KEY,
     version INTEGER NOT NULL,
     body TEXT NOT NULL
   ) STRICT;`,
  // No table changes. An earlier davit must not take over: it would write logs into bundles, and mount
  // images without what their layers have of those below them.
  "",
];

/** The kind of a database. `foreign`: tables, but none that names a schema version. */
type SchemaState =
  | { readonly kind: "empty" }
  | { readonly kind: "foreign" }
  | { readonly kind: "damaged" }
  | { readonly kind: "version"; readonly version: number };

/** Reads the schema version; writes nothing. */
export function readSchema(db: DatabaseSync): SchemaState {
  const tables = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").all();
  if (tables.length === 0) return { kind: "empty" };
  if (!tables.some((table) => table["name"] === "meta")) return { kind: "foreign" };
  const version = db.prepare("SELECT * FROM meta").get()?.["schema"];
  if (typeof version !== "number" || version < 1) return { kind: "damaged" };
  return { kind: "version", version };
}

/**
 * Brings the database to the newest schema, in one transaction. The write lock is taken even when
 * nothing is to be done: a read-only database must fail now, not at the first pod.
 */
export function migrate(
  db: DatabaseSync,
  nowMs: number,
  steps: readonly string[] = migrations,
): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    const state = readSchema(db);
    const version = state.kind === "version" ? state.version : 0;
    for (const step of steps.slice(version)) db.exec(step);
    if (version < steps.length) {
      db.prepare(
        `INSERT INTO meta (one, schema, created_at) VALUES (1, ?, ?)
         ON CONFLICT (one) DO UPDATE SET schema = excluded.schema`,
      ).run(steps.length, nowMs);
    }
    db.exec("COMMIT");
  } catch (error) {
    // SQLite has rolled back by itself after some errors (full disk), and not after others.
    if (db.isTransaction) db.exec("ROLLBACK");
    throw error;
  }
}
