import { createTerminal, type Terminal } from "../terminal.ts";

/** A terminal for tests: what was written to it, and no colours unless `isTTY`. */
export interface RecordedTerminal extends Terminal {
  readonly written: { out: string; err: string };
}

/** Makes one. With `isTTY` it takes itself for a person's. */
export function recordedTerminal(options: { readonly isTTY?: boolean } = {}): RecordedTerminal {
  const written = { out: "", err: "" };
  const { isTTY = false } = options;
  const terminal = createTerminal(
    { isTTY, write: (text) => (written.out += textOf(text)) },
    { isTTY, write: (text) => (written.err += textOf(text)) },
    {},
  );
  return { ...terminal, written };
}

/** Bytes that are no UTF-8 become what a terminal would show. */
function textOf(text: string | Uint8Array): string {
  return typeof text === "string" ? text : Buffer.from(text).toString();
}
