/** The places that clients name for their checkpoints: what was there before is neither changed nor removed. */
export interface CheckpointOutputs {
  /**
   * Rejects a path at which no new file can be made: `invalid-argument` if its directory does not exist,
   * `already-exists` if there is anything, also a link.
   */
  checkNewFile(path: string): Promise<void>;
  /** Rejects with `invalid-argument` what is not an empty directory. A link to one is not. */
  checkEmptyDirectory(path: string): Promise<void>;
  /**
   * Makes an empty directory the caller's, by a directory `containers` in it, until it is cleared: of two checkpoints at
   * once, one gets it. Rejects as checkEmptyDirectory(), and has changed nothing then.
   */
  claimEmptyDirectory(path: string): Promise<void>;
  /** Removes a file that was made at a path that checkNewFile() accepted. Idempotent. */
  removeFile(path: string): Promise<void>;
  /** Removes everything in a claimed directory, and keeps the directory. Idempotent. */
  clear(path: string): Promise<void>;
}
