/** Connections of HTTP/2, which clients of the CRI socket make. */
import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

import { ServerConnection } from "../../../src/wire/http2/connection.ts";
import { encodeHeaders } from "../../../src/wire/http2/hpack/index.ts";
import { limits, SharedMemory } from "../../../src/wire/http2/limits.ts";
import { clientPreface, ConnectionError } from "../../../src/wire/http2/protocol.ts";
import {
  clientGreeting,
  dataFrame,
  number32,
  rawFrame,
  requestFields,
  requestFrame,
  settingFrame,
} from "../../../src/wire/http2/testing/raw-client.ts";
import { type FuzzTarget, pieces } from "../target.ts";

const okBlock = encodeHeaders([[":status", "200"]]);
const endBlock = encodeHeaders([["grpc-status", "0"]]);

interface Outcome {
  /** Path, data, and what else happened on each stream. */
  readonly streams: readonly string[];
  /** Why the connection ended; undefined when it did not, or only because the client has closed it. */
  readonly reason: string | undefined;
}

/** A server that answers each request with its own data. */
async function converse(chunks: readonly Buffer[]): Promise<Outcome> {
  const [transport, client] = duplexPair();
  const memory = new SharedMemory();
  const streams: string[] = [];
  const { promise: closed, resolve } = Promise.withResolvers<Error | undefined>();
  let openCount = 0;
  const connection = new ServerConnection({
    socket: transport,
    memory,
    onReady: () => undefined,
    onMemoryFull: () => undefined,
    onClose: resolve,
    onStream: (stream) => {
      const at = streams.push(`${stream.id} ${stream.head.method} ${stream.head.path}`) - 1;
      const log = (what: string): void => {
        streams[at] = `${streams[at] ?? ""}${what}`;
      };
      let [bytes, isOver] = [0, false];
      openCount += 1;
      assert.ok(openCount <= limits.maxStreams);
      stream.handler = {
        onData: (part) => {
          assert.ok(!isOver && part.length > 0);
          bytes += part.length;
          log(part.toString("hex"));
          if (!stream.headersSent) stream.respond(okBlock);
          stream.write(Buffer.from(part));
        },
        onEnd: () => {
          assert.ok(!isOver);
          log(" end");
          if (!stream.headersSent) stream.respond(okBlock);
          stream.end(endBlock);
        },
        onDrain: () => assert.ok(!isOver),
        onClose: () => {
          assert.ok(!isOver, "a stream is closed once");
          isOver = true;
          openCount -= 1;
          const { contentLength } = stream.head;
          if (stream.hasReceivedEnd && contentLength !== undefined)
            assert.equal(bytes, contentLength);
        },
      };
    },
  });
  client.on("error", () => undefined);
  client.resume();
  for (const chunk of chunks) client.write(Buffer.from(chunk));
  await turn();
  client.destroy();
  connection.destroy();
  const error = await closed;
  assert.ok(error === undefined || error instanceof ConnectionError, String(error));
  assert.equal(openCount, 0, "a stream outlives its connection");
  assert.deepEqual([memory.unsentBytes, memory.unreadBytes], [0, 0]);
  return { streams, reason: error?.message };
}

const block = encodeHeaders(requestFields);
const long = [...requestFields, ["content-length", "3"]] as const;

export const target: FuzzTarget = {
  name: "http2",
  seeds: () =>
    [
      [requestFrame(1, true)],
      [requestFrame(1), dataFrame(1, Buffer.from("abc"), true)],
      [requestFrame(1, false, long), dataFrame(1, Buffer.from("abc"), true), requestFrame(3, true)],
      [requestFrame(1), rawFrame(0, 9, 1, Buffer.from([2, 97, 0, 0])), requestFrame(3, true)],
      [rawFrame(1, 1, 1, block.subarray(0, 2)), rawFrame(9, 4, 1, block.subarray(2))],
      [requestFrame(1), rawFrame(3, 0, 1, number32(8)), requestFrame(3)],
      [settingFrame(4, 1), requestFrame(1), dataFrame(1, Buffer.from("abc")), settingFrame(4, 9)],
      [requestFrame(1), dataFrame(1, Buffer.from("abc")), rawFrame(8, 0, 1, number32(7))],
      [rawFrame(6, 0, 0, Buffer.alloc(8)), rawFrame(7, 0, 0, Buffer.alloc(8)), settingFrame(1, 0)],
      [requestFrame(1), rawFrame(1, 5, 1, encodeHeaders([["x-end", "1"]])), rawFrame(99, 0, 0)],
    ].map((frames) => Buffer.concat([clientGreeting, ...frames])),
  words: [
    clientPreface.toString("latin1"),
    "\0\0\0\x04\0\0\0\0\0",
    "\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01",
    "\0\0\0\0\x01\0\0\0\x01",
    "\0\0\x03\x01\x05\0\0\0\x03\x83\x86\x84",
    "\0\0\0\x09\x04\0\0\0\x01",
    "\xff\xff\xff\xff",
  ],
  maxBytes: 8 * 1024,
  check: async (input) => {
    assert.deepEqual(await converse(pieces(input)), await converse([input]));
  },
};
