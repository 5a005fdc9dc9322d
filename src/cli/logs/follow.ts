import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { StringDecoder } from "node:string_decoder";

const pollMs = 100;
const chunkBytes = 64 * 1024;

/** A line of a container's log, as the CRI writes it: `TIME STREAM P|F TEXT`. */
export interface LogLine {
  readonly stream: string;
  readonly text: string;
}

/**
 * The lines of a CRI log as they come, from its beginning until `signal` is aborted. Parts of a
 * long line (tag P) are put together.
 */
export async function* followLog(path: string, signal: AbortSignal): AsyncIterable<LogLine> {
  const file = await open(path, "r");
  try {
    const decoder = new StringDecoder("utf8");
    const buffer = Buffer.alloc(chunkBytes);
    let rest = "";
    let partial = "";
    while (!signal.aborted) {
      const { bytesRead } = await file.read(buffer, 0, chunkBytes, null);
      if (bytesRead === 0) {
        await sleep(pollMs);
        continue;
      }
      const lines = (rest + decoder.write(buffer.subarray(0, bytesRead))).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const [, stream = "", tag = "", text = ""] = /^\S+ (\S+) ([PF]) (.*)$/s.exec(line) ?? [];
        partial += text;
        if (tag !== "F") continue;
        yield { stream, text: partial };
        partial = "";
      }
    }
  } finally {
    await file.close();
  }
}
