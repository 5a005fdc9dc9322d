// The store that every noun with a life is kept in. Imports base. Start with object-store.ts.
export type { KnownIds } from "./known-ids.ts";
export type { RecordTable, SetAsideRecord } from "./record-table.ts";
export type { StoredObject } from "./object-store.ts";
export { ObjectStore } from "./object-store.ts";
