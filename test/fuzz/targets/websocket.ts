/** Frames of WebSocket, the channels of Kubernetes in them, and the texts of remote commands. */
import assert from "node:assert/strict";
import { duplexPair, Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

import { Channels, channelProtocols } from "../../../src/wire/remote-command/channels.ts";
import { readSizes } from "../../../src/wire/remote-command/sizes.ts";
import { formatStatus, parseStatus } from "../../../src/wire/remote-command/status.ts";
import { frameParts, opcode, WebSocketParser } from "../../../src/wire/websocket/frames.ts";
import { attempt, type FuzzTarget, pieces } from "../target.ts";

const maxMessageBytes = 64 * 1024;

/** Messages and control frames, with the pieces of a message joined. */
function parse(chunks: readonly Buffer[], masked: boolean): readonly string[] {
  const found: string[] = [];
  let [message, bytes] = ["", 0];
  const parser = new WebSocketParser(
    { masked, maxMessageBytes },
    {
      control: (code, payload) => {
        assert.ok(payload.length <= 125);
        found.push(`control ${code} ${payload.toString("hex")}`);
      },
      message: ({ text, piece, first, last }) => {
        if (first) [message, bytes] = ["", 0];
        bytes += piece.length;
        assert.ok(bytes <= maxMessageBytes);
        message += piece.toString("hex");
        if (last) found.push(`${text ? "text" : "binary"} ${message}`);
      },
    },
  );
  const done = attempt(["invalid-argument"], () => {
    for (const chunk of chunks) parser.push(Buffer.from(chunk));
    return true;
  });
  return [...found, String(done)];
}

async function checkChannels(input: Buffer, name: string): Promise<void> {
  const protocol = channelProtocols.get(name);
  assert.ok(protocol);
  const [transport, peer] = duplexPair();
  const channels = new Channels(transport, "server", protocol);
  const streams = [0, 4].map((channel) => channels.open(channel));
  let received = 0;
  for (const stream of streams) {
    stream.on("error", () => undefined);
    stream.on("data", (chunk: Buffer) => (received += chunk.length));
  }
  peer.on("error", () => undefined);
  peer.resume();
  for (const chunk of pieces(input, 5)) peer.write(chunk);
  await turn();
  peer.destroy();
  transport.destroy();
  await channels.connection.closed;
  assert.ok(received <= input.length, "a stream has more bytes than arrived");
}

async function checkTexts(input: Buffer): Promise<void> {
  for await (const { width, height } of readSizes(Readable.from(pieces(input)))) {
    assert.ok(width >= 0 && width <= 0xffff && height >= 0 && height <= 0xffff);
  }
  const end = attempt(["internal"], () => parseStatus(input.toString("utf8")));
  if (end !== undefined && "exitCode" in end) {
    assert.deepEqual(parseStatus(formatStatus(end)), end);
  }
}

function masked(first: number, payload: string | Buffer): Buffer {
  const bytes = Buffer.from(payload);
  return Buffer.concat([Buffer.from([first, 0x80 | bytes.length, 1, 2, 3, 4]), bytes]);
}

export const target: FuzzTarget = {
  name: "websocket",
  seeds: () => [
    masked(0x81, "Hello"),
    masked(0x82, Buffer.from([0, 1, 2, 3])),
    Buffer.concat([masked(0x02, "\0ab"), masked(0x89, "ping"), masked(0x80, "cd")]),
    masked(0x88, Buffer.from([3, 232])),
    masked(0x81, "0aGVsbG8="),
    Buffer.concat(frameParts(opcode.binary, [Buffer.alloc(300)], true)),
    Buffer.concat(frameParts(opcode.text, [Buffer.from("x")], false)),
    Buffer.from('{"Width":80,"Height":24}{"width":1}'),
    Buffer.from(formatStatus({ exitCode: 3 })),
    Buffer.from(formatStatus({ failure: "no" })),
  ],
  words: [
    "\x82\xfe\x01\0\0\0\0\0",
    "\x82\xff\0\0\0\0\0\x01\0\0\0\0\0\0",
    "\x81\x80\0\0\0\0",
    "\xff\0",
    '"Width":',
    '"ExitCode"',
  ],
  maxBytes: 8 * 1024,
  check: async (input) => {
    for (const isMasked of [true, false]) {
      assert.deepEqual(parse(pieces(input), isMasked), parse([input], isMasked));
    }
    for (const name of channelProtocols.keys()) await checkChannels(Buffer.from(input), name);
    await checkTexts(input);
  },
};
