import assert from "node:assert/strict";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { openRemoteCommand } from "../client/streaming/index.ts";
import {
  dataHead,
  goAwayFrame,
  pingFrame,
  settingsFrame,
  synStreamFrame,
  windowUpdateFrame,
} from "../wire/spdy/frames.ts";
import { HeaderWriter } from "../wire/spdy/headers.ts";
import { frameParts, opcode } from "../wire/websocket/frames.ts";
import { makeKey } from "../wire/websocket/handshake.ts";
import { openServer } from "./testing/open-server.ts";

const all = { stdin: true, stdout: true, stderr: true, terminal: false };
const rounds = 400;

/** Random numbers from a seed, so that a failure can be repeated (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
}

/** The bytes of a client for a whole exec. */
function soundSpdy(): Buffer {
  const writer = new HeaderWriter();
  const streams = ["error", "stdin", "stdout", "stderr"].map((type, index) =>
    synStreamFrame(2 * index + 1, writer.write(new Map([["streamtype", type]]))),
  );
  const input = Buffer.from("some input");
  return Buffer.concat([
    settingsFrame(65536),
    ...streams,
    pingFrame(1),
    windowUpdateFrame(5, 1000),
    dataHead(3, input.length, false),
    input,
    dataHead(3, 0, true),
    goAwayFrame(0, 0),
  ]);
}

function soundWebSocket(): Buffer {
  return Buffer.concat([
    ...frameParts(opcode.binary, [Buffer.from([0]), Buffer.from("some input")], true),
    ...frameParts(opcode.ping, [Buffer.from("x")], true),
    ...frameParts(opcode.binary, [Buffer.from([255, 0])], true),
    ...frameParts(opcode.close, [Buffer.from([3, 232])], true),
  ]);
}

function spoil(sound: Buffer, next: (below: number) => number): Buffer {
  switch (next(4)) {
    case 0:
      return Buffer.from(Array.from({ length: next(2000) }, () => next(256)));
    case 1:
      return sound.subarray(0, next(sound.length));
    case 2: {
      const flipped = Buffer.from(sound);
      for (let i = 0; i <= next(4); i++) flipped[next(flipped.length)] = next(256);
      return flipped;
    }
    default: {
      // The start is valid, so that streams are open for the rest.
      const noise = Buffer.from(Array.from({ length: next(500) }, () => next(256)));
      return Buffer.concat([sound.subarray(0, next(sound.length)), noise, sound]);
    }
  }
}

async function upgraded(url: string, headers: readonly string[]): Promise<Socket> {
  const { pathname, port } = new URL(url);
  const socket = connect(Number(port), "127.0.0.1");
  socket.on("error", () => undefined);
  const lines = [`GET ${pathname} HTTP/1.1`, "Host: x", "Connection: Upgrade", ...headers];
  socket.write(`${lines.join("\r\n")}\r\n\r\n`);
  const [answer] = (await once(socket, "data")) as [Buffer];
  assert.match(answer.toString("latin1"), /^HTTP\/1\.1 101 /);
  return socket;
}

const spdyHeaders = ["Upgrade: SPDY/3.1", "X-Stream-Protocol-Version: v4.channel.k8s.io"];
const webSocketHeaders = (): string[] => [
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  `Sec-WebSocket-Key: ${makeKey()}`,
  "Sec-WebSocket-Protocol: v5.channel.k8s.io",
];

test("StreamingServer: arbitrary bytes close their connection, and have no other effect", async () => {
  const seed = Number(process.env["DAVIT_TEST_SEED"] ?? 1);
  const next = random(seed);
  await using opened = await openServer();
  const { server } = opened;
  const cat = { containerId: "c", sandboxId: "s", command: ["cat"], terminal: false };
  const bystander = await openRemoteCommand(server.exec(cat, all), all);
  bystander.stderr?.resume();
  for (let round = 0; round < rounds; round++) {
    const spdy = round % 2 === 0;
    const forward = next(3) === 0;
    const url = forward && spdy ? server.portForward("s", []) : server.exec(cat, all);
    const headers = forward && spdy ? spdyHeaders.slice(0, 1) : spdyHeaders;
    const socket = await upgraded(url, spdy ? headers : webSocketHeaders());
    socket.resume();
    socket.end(spoil(spdy ? soundSpdy() : soundWebSocket(), next));
    await once(socket, "close");
  }
  bystander.stdin?.end("still here");
  const { stdout } = bystander;
  assert.ok(stdout);
  assert.equal(await text(stdout), "still here", `seed ${seed}`);
  assert.deepEqual(await bystander.end, { exitCode: 0 });
});
