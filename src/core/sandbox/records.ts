import type { Sandbox } from "./sandbox.ts";

/** A record that could not be read. It is kept, and it stops nothing. */
export interface SetAsideRecord {
  readonly kind: string;
  readonly id: string;
  readonly reason: string;
}

/** Where sandboxes outlive the daemon. */
export interface SandboxRecords {
  /** All records that can be read, oldest first. Those that cannot are set aside and reported. */
  loadSandboxes(): readonly Sandbox[];
  /** Writes the sandbox whole, new or not; done when it returns (for a crash of the daemon). */
  putSandbox(sandbox: Sandbox): void;
  /** Forgets the sandbox; no error when it is not there. */
  deleteSandbox(id: string): void;
  /** Keeps a readable record that must not be used, under `reason`, away from the others. */
  setAsideSandbox(id: string, reason: string): void;
  /** What was set aside, ever, and not yet cleaned up. */
  setAside(): readonly SetAsideRecord[];
}
