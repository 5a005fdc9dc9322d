import type { Sandbox } from "./sandbox.ts";

/** A record that could not be used. It is kept apart from the others. */
export interface SetAsideRecord {
  readonly kind: string;
  readonly id: string;
  readonly reason: string;
}

/** The sandboxes in the database. */
export interface SandboxRecords {
  /** All valid records, oldest first. Invalid ones are set aside and reported. */
  loadSandboxes(): readonly Sandbox[];
  /** Writes the whole sandbox, new or not. It survives a crash of the daemon once this returns. */
  putSandbox(sandbox: Sandbox): void;
  /** Deletes the record; not an error when it does not exist. */
  deleteSandbox(id: string): void;
  /** Sets a valid record aside that must not be used, with the reason. */
  setAsideSandbox(id: string, reason: string): void;
  /** The records that were set aside and not cleaned up since. */
  setAside(): readonly SetAsideRecord[];
}
