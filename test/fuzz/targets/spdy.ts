/** Frames and header blocks of SPDY/3.1, and whole sessions of both sides. */
import assert from "node:assert/strict";
import { duplexPair } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";
import { deflateSync } from "node:zlib";

import { dictionary } from "../../../src/wire/spdy/dictionary.ts";
import {
  dataHead,
  FrameParser,
  goAwayFrame,
  maxControlBytes,
  pingFrame,
  resetFrame,
  settingsFrame,
  synReplyFrame,
  synStreamFrame,
  windowUpdateFrame,
} from "../../../src/wire/spdy/frames.ts";
import { HeaderReader, HeaderWriter, maxHeaderBytes } from "../../../src/wire/spdy/headers.ts";
import { SpdySession } from "../../../src/wire/spdy/session.ts";
import { attempt, type FuzzTarget, pieces } from "../target.ts";

/** The frames, with the pieces of a data frame joined. */
function parse(chunks: readonly Buffer[]): readonly string[] {
  const found: string[] = [];
  let data = "";
  const parser = new FrameParser({
    control: ({ type, flags, payload }) => {
      assert.ok(payload.length <= maxControlBytes);
      found.push(`control ${type} ${flags} ${payload.toString("hex")}`);
    },
    data: (id, piece, fin) => {
      data += piece.toString("hex");
      if (fin) found.push(`end of data ${id}`);
    },
  });
  const done = attempt(["invalid-argument"], () => {
    for (const chunk of chunks) parser.push(chunk);
    return true;
  });
  return [...found, data, String(done)];
}

/** A block of any bytes, and one that davit itself has written. */
function checkHeaders(input: Buffer): void {
  const headers = attempt(["invalid-argument"], () => new HeaderReader().read(input));
  const plain = deflateSync(input.subarray(0, 4096), { dictionary, finishFlush: 2 });
  const found = attempt(["invalid-argument"], () => new HeaderReader().read(plain));
  for (const each of [headers, found]) {
    if (each === undefined) continue;
    let size = 4;
    for (const [name, value] of each) size += 8 + name.length + value.length;
    assert.ok(size <= maxHeaderBytes, `headers of ${size} bytes`);
    const [writer, reader] = [new HeaderWriter(), new HeaderReader()];
    assert.deepEqual(reader.read(writer.write(each)), each);
    assert.deepEqual(reader.read(writer.write(each)), each);
  }
}

/** Whatever arrives, a session ends when its connection does, and what it buffers is bounded. */
async function checkSession(input: Buffer, role: "client" | "server"): Promise<void> {
  const [transport, peer] = duplexPair();
  let opened = 0;
  const session = new SpdySession({
    transport,
    role,
    lingerMs: 0,
    maxStreams: 8,
    maxUnreadBytes: 64 * 1024,
    onStream: (stream) => {
      opened++;
      stream.on("error", () => undefined);
      if (stream.id % 4 === 1) stream.resume();
      else stream.destroy();
    },
  });
  peer.on("error", () => undefined);
  peer.resume();
  for (const chunk of pieces(input, 3)) peer.write(chunk);
  await turn();
  assert.ok(session.streamCount <= 8, `${session.streamCount} streams of ${opened}`);
  peer.destroy();
  transport.destroy();
  const reason = await session.closed;
  if (reason !== undefined) assert.ok(reason instanceof Error);
  assert.equal(session.streamCount, 0);
}

const seeds = (): readonly Buffer[] => {
  const writer = new HeaderWriter();
  const headers = new Map([["streamtype", "stdin"]]);
  const open = synStreamFrame(1, writer.write(headers));
  const data = Buffer.concat([dataHead(1, 5, false), Buffer.from("hello"), dataHead(1, 0, true)]);
  return [
    open,
    Buffer.concat([open, data]),
    Buffer.concat([open, synStreamFrame(3, writer.write(new Map())), resetFrame(1, 5), data]),
    Buffer.concat([settingsFrame(65_536), pingFrame(2), windowUpdateFrame(0, 100)]),
    Buffer.concat([open, windowUpdateFrame(1, 2 ** 31 - 1), goAwayFrame(1, 0)]),
    synReplyFrame(1, new HeaderWriter().write(headers)),
    new HeaderWriter().write(headers),
    Buffer.from("0000000100000001610000000162", "hex"),
  ];
};

export const target: FuzzTarget = {
  name: "spdy",
  seeds,
  words: [
    "\x80\x03\0\x01\0\0\0\0",
    "\x80\x03\0\x03\0\0\0\x08\0\0\0\x01\0\0\0\x05",
    "\x80\x03\0\x09\0\0\0\x08\0\0\0\0\x7f\xff\xff\xff",
    "\0\0\0\x01\x01\0\0\0",
    "\x78\x3f\xe3\xc6\xa7\xc2",
  ],
  maxBytes: 8 * 1024,
  check: async (input) => {
    assert.deepEqual(parse(pieces(input)), parse([input]));
    checkHeaders(input);
    await checkSession(Buffer.from(input), "server");
    await checkSession(Buffer.from(input), "client");
  },
};
