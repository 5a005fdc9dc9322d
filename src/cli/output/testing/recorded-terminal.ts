import { createTerminal, type Terminal } from "../terminal.ts";

/** A terminal for tests that records its output; without colors unless `isTTY`. */
export interface RecordedTerminal extends Terminal {
  readonly written: { out: string; err: string };
}

/** Makes a recorded terminal. With `isTTY` it behaves like a real terminal. */
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

/** Decodes UTF-8; invalid bytes become replacement characters, as in a terminal. */
function textOf(text: string | Uint8Array): string {
  return typeof text === "string" ? text : Buffer.from(text).toString();
}
