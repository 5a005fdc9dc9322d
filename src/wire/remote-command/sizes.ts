import type { Readable } from "node:stream";

/** The size of a terminal, in characters. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** Text that may be held while no size is whole; one has about 30 characters. */
const maxHeld = 1024;

/** Reads sizes as they come: JSON objects one after the other. Ends with the stream, also with a broken one. */
export async function* readSizes(stream: Readable): AsyncGenerator<Size, void, undefined> {
  let held = "";
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      held += chunk.toString("utf8");
      const objects = held.match(/\{[^{}]*\}/g) ?? [];
      held = held.slice(held.lastIndexOf("}") + 1);
      for (const text of objects) {
        const size = parseSize(text);
        if (size !== undefined) yield size;
      }
      if (held.length > maxHeld) return;
    }
  } catch {
    // The client left, or sent what is no size: there are no more of them.
  }
}

/** One size as it is sent. */
export function formatSize(size: Size): string {
  return `${JSON.stringify({ Width: size.width, Height: size.height })}\n`;
}

function parseSize(text: string): Size | undefined {
  const raw = JSON.parse(text) as Record<string, unknown>;
  const width = raw["Width"] ?? raw["width"];
  const height = raw["Height"] ?? raw["height"];
  return isLength(width) && isLength(height) ? { width, height } : undefined;
}

// As the kernel has it: 16 bits (struct winsize).
function isLength(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff;
}
