import { run } from "../../linux/process/index.ts";

/** One execution of a plugin. */
export interface PluginCall {
  /** Absolute path of the plugin. */
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
  /** What the plugin reads on standard input. */
  readonly input: string;
  readonly timeoutMs: number;
  readonly signal: AbortSignal;
}

/** How a plugin ended, with what it wrote. */
export interface PluginExit {
  readonly code: number | null;
  readonly signal: number | null;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/**
 * Runs a plugin to its end. At the timeout or abort the plugin's whole process group is killed and
 * the promise rejects (`deadline-exceeded`, or the signal's reason); `not-found` when the
 * file does not exist.
 */
export type PluginExec = (call: PluginCall) => Promise<PluginExit>;

// A result is some hundred bytes. More output of a broken plugin is not read.
const maxOutputBytes = 1 << 20;

/** Runs plugins on this machine, each as the leader of its own process group. */
export const execOnHost: PluginExec = (call) =>
  run({ ...call, newSession: true, killGroup: true, maxOutputBytes });
