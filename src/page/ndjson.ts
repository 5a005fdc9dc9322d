import type { Failure } from "./view.ts";

/** A longer line is an error of the server. The pods of a node are one line. */
const maxLineLength = 32 * 1024 * 1024;

/** The values of a response with a line of JSON for each, in batches as they arrive. Throws the error of a failure. */
export async function* readLines<T>(response: Response): AsyncGenerator<readonly T[]> {
  if (!response.ok || response.body === null) {
    throw new Error(((await response.json()) as Failure).error);
  }
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop() ?? "";
    if (rest.length > maxLineLength) throw new Error("the server sends an endless line");
    if (lines.length > 0) yield lines.map((line) => JSON.parse(line) as T);
  }
}
