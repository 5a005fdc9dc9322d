import type { IncomingMessage } from "node:http";
import { RuntimeError } from "../../base/errors.ts";

/** More than any request of the page has. */
const maxBytes = 4096;

/** Reads the JSON object of a request. Throws `invalid-argument` for anything else, and beyond 4 KiB. */
export async function readBody(
  request: IncomingMessage,
): Promise<Readonly<Record<string, unknown>>> {
  const invalid = (why: string): RuntimeError =>
    new RuntimeError("invalid-argument", `read request: ${why}`);
  if (request.headers["content-type"] !== "application/json") {
    throw invalid("Content-Type must be application/json");
  }
  const chunks: Buffer[] = [];
  let bytes = 0;
  // Not destroyed by an error, so that the response is sent.
  const body = request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > maxBytes) throw invalid(`more than ${maxBytes} bytes`);
    chunks.push(chunk);
  }
  try {
    const value = JSON.parse(Buffer.concat(chunks).toString()) as unknown;
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Reported below.
  }
  throw invalid("must be a JSON object");
}
