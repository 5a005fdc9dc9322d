import type { Readable } from "node:stream";

/** The size of a terminal, in characters. */
export interface Size {
  readonly width: number;
  readonly height: number;
}

/** The length of text that is kept while a size is incomplete; a size has about 30 characters. */
const maxLength = 1024;

/** Reads sizes, which are consecutive JSON objects, as they arrive. Ends with the stream, also after an error. */
export async function* readSizes(stream: Readable): AsyncGenerator<Size, void, undefined> {
  let text = "";
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      text += chunk.toString("utf8");
      const objects = text.match(/\{[^{}]*\}/g) ?? [];
      text = text.slice(text.lastIndexOf("}") + 1);
      for (const object of objects) {
        const size = parseSize(object);
        if (size !== undefined) yield size;
      }
      if (text.length > maxLength) return;
    }
  } catch {
    // The client disconnected, or sent something else: there are no more sizes.
  }
}

/** A size as JSON. */
export function formatSize(size: Size): string {
  return `${JSON.stringify({ Width: size.width, Height: size.height })}\n`;
}

function parseSize(text: string): Size | undefined {
  const raw = JSON.parse(text) as Record<string, unknown>;
  const width = raw["Width"] ?? raw["width"];
  const height = raw["Height"] ?? raw["height"];
  return isLength(width) && isLength(height) ? { width, height } : undefined;
}

// 16 bits, as in the kernel (struct winsize).
function isLength(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffff;
}
