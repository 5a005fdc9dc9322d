import type { LineOutput } from "./live-lines.ts";
import type { Terminal } from "./terminal.ts";

/** The output for progress: stderr, so that stdout contains only results. */
export function progressOutput(terminal: Terminal, quiet: boolean): LineOutput {
  return {
    write: (text) => terminal.err(text),
    live: terminal.errLive && !quiet,
    columns: terminal.columns,
  };
}
