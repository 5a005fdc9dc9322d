import type { ClientHttp2Stream } from "node:http2";
import { writeMessage } from "./codec.ts";

/**
 * Sends requests as fast as the server takes them, then ends the client's side of the stream. Resolves early
 * when the stream closes, and closes the source of the requests then; rejects only with the source's failure.
 */
export async function sendRequests(
  stream: ClientHttp2Stream,
  requests: AsyncIterable<Uint8Array>,
): Promise<void> {
  const { promise: closed, resolve } = Promise.withResolvers<undefined>();
  stream.once("close", () => resolve(undefined));
  const isOver = (): boolean => stream.closed || stream.destroyed;
  const source = requests[Symbol.asyncIterator]();
  try {
    while (!isOver()) {
      const next = await Promise.race([source.next(), closed]);
      if (next === undefined) return;
      if (next.done === true) {
        stream.end();
        return;
      }
      if (isOver()) return;
      if (!writeMessage(stream, next.value, false)) {
        const { promise: drained, resolve: onDrain } = Promise.withResolvers<undefined>();
        stream.once("drain", () => onDrain(undefined));
        await Promise.race([drained, closed]);
      }
    }
  } finally {
    // Not awaited: a source that hangs does not answer this either.
    source.return?.().catch(() => undefined);
  }
}
