import type { LineOutput } from "./live-lines.ts";
import type { Terminal } from "./terminal.ts";

/** Where progress is shown: stderr, so that stdout holds only what was asked for. */
export function progressOutput(terminal: Terminal, quiet: boolean): LineOutput {
  return {
    write: (text) => terminal.err(text),
    live: terminal.errLive && !quiet,
    columns: terminal.columns,
  };
}
