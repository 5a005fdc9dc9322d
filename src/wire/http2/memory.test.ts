// What a client can make the server keep or do by frames that cost the client little. server-abuse.test.ts in
// wire/grpc has the attacks on the whole server.
import assert from "node:assert/strict";
import type { Duplex } from "node:stream";
import { test } from "node:test";

import { ServerConnection } from "./connection.ts";
import { encodeHeaders } from "./hpack/index.ts";
import { limits, SharedMemory } from "./limits.ts";
import { frameType, setting } from "./protocol.ts";
import type { ServerStream } from "./stream.ts";
import { FakeSocket } from "./testing/fake-socket.ts";
import {
  clientGreeting,
  number32,
  rawFrame,
  requestFrame,
  settingFrame,
} from "./testing/raw-client.ts";

const response = encodeHeaders([[":status", "200"]]);
const open = (streamId: number): Buffer => requestFrame(streamId, true);
const reset = (streamId: number): Buffer => rawFrame(frameType.rstStream, 0, streamId, number32(8));
const window = (bytes: number): Buffer => settingFrame(setting.initialWindowSize, bytes);

const turn = (): Promise<void> => new Promise((resolve) => void setImmediate(resolve));

/** A connection after its preface, whose handlers respond with this many bytes and do not end. */
function connected(responseBytes: number) {
  const socket = new FakeSocket();
  const memory = new SharedMemory();
  let reason: Error | undefined;
  const connection = new ServerConnection({
    socket: socket as unknown as Duplex,
    memory,
    onReady: () => undefined,
    onStream: (stream: ServerStream) => {
      stream.respond(response);
      stream.write(Buffer.alloc(responseBytes));
    },
    onMemoryFull: () => undefined,
    onClose: (error) => (reason = error),
  });
  const send = (bytes: Buffer): void => void socket.emit("data", bytes);
  send(clientGreeting);
  return { connection, socket, memory, send, reason: () => reason };
}

test("keeps nothing of calls that a client resets while it does not read", async () => {
  const { connection, socket, memory, send } = connected(100);
  await turn();
  socket.isReading = false;
  send(open(1));
  await turn();
  assert.ok(socket.writableNeedDrain);
  for (let id = 3; id < 2000; id += 2) send(Buffer.concat([open(id), reset(id)]));
  send(reset(1));
  assert.equal(connection.sending.isReady, false, "streams that are over wait to send");
  assert.equal(memory.unsentBytes, 0);
  connection.destroy();
});

test("keeps nothing of calls that a client resets while it gives the connection no window", async () => {
  const { connection, memory, send } = connected(10_000);
  for (let id = 1; id < 200; id += 2) {
    send(open(id));
    await turn();
    send(reset(id));
  }
  assert.equal(memory.unsentBytes, 0);
  assert.ok(connection.sending.widen(1));
  assert.equal(connection.sending.isReady, false, "streams that are over wait to send");
  connection.destroy();
});

test("counts a message that the client accepts except for a byte, because it is kept", async () => {
  const { connection, memory, send } = connected(50_000);
  send(window(49_999));
  send(rawFrame(frameType.windowUpdate, 0, 0, number32(10_000_000)));
  for (let id = 1; id < 200; id += 2) {
    send(open(id));
    await turn();
  }
  await turn();
  assert.equal(memory.unsentBytes, 100 * 50_000);
  for (let id = 1; id < 100; id += 2) send(reset(id));
  assert.equal(memory.unsentBytes, 50 * 50_000);
  for (let id = 101; id < 200; id += 2) {
    send(rawFrame(frameType.windowUpdate, 0, id, number32(1)));
  }
  await turn();
  assert.equal(memory.unsentBytes, 0);
  connection.destroy();
});

test("a client that reads large answers fast leaves the event loop to others", async () => {
  const { connection, socket, send } = connected(4_000_000);
  // Each write fills the buffer of the socket and is done at once.
  socket.write = (bytes: Uint8Array): boolean => {
    socket.written.push(Buffer.from(bytes));
    if (!socket.writableNeedDrain) {
      process.nextTick(() => {
        socket.writableNeedDrain = false;
        socket.emit("drain");
      });
    }
    socket.writableNeedDrain = true;
    return false;
  };
  send(window(4_000_000));
  send(rawFrame(frameType.windowUpdate, 0, 0, number32(10_000_000)));
  send(open(1));
  let sent = 0;
  while (connection.unsentBytes > 0) {
    socket.written = [];
    await turn();
    const bytes = socket.written.reduce((sum, { length }) => sum + length, 0);
    assert.ok(bytes <= 300_000, `${bytes} bytes in a turn`);
    sent += bytes;
  }
  assert.ok(sent >= 4_000_000);
  connection.destroy();
});

test("closes a connection that widens many streams by a byte, again and again", async () => {
  const { connection, socket, send, reason } = connected(100_000);
  send(window(0));
  for (let id = 1; id < 2 * 1000; id += 2) send(open(id));
  await turn();
  let changes = 0;
  while (!socket.destroyed && !socket.writableEnded && changes < limits.idleFrames.burst) {
    socket.written = [];
    send(window(++changes));
    await turn();
  }
  // 1000 streams count as 125 frames; those that they earned are few.
  assert.ok(changes < 400, `${changes} changes`);
  socket.destroy();
  await turn();
  assert.match(String(reason()), /frames that carry nothing/);
  assert.equal(connection.unsentBytes, 0);
});

test("a client that changes its window a few times stays connected", async () => {
  const { connection, socket, send } = connected(100_000);
  for (let id = 1; id < 2 * 1000; id += 2) send(open(id));
  for (let change = 0; change < 16; change++) {
    send(window(65_535 * 2 ** (change % 8)));
    await turn();
  }
  assert.equal(socket.writableEnded, false);
  connection.destroy();
});

test("a request without a body that is answered at once is not reset", async () => {
  const frames = async (isEnd: boolean): Promise<number[]> => {
    const socket = new FakeSocket();
    const connection = new ServerConnection({
      socket: socket as unknown as Duplex,
      memory: new SharedMemory(),
      onReady: () => undefined,
      onStream: (stream: ServerStream) => {
        stream.respond(response, true);
        stream.rejectRest();
      },
      onMemoryFull: () => undefined,
      onClose: () => undefined,
    });
    socket.emit("data", clientGreeting);
    await turn();
    socket.written = [];
    socket.emit("data", requestFrame(1, isEnd));
    await turn();
    connection.destroy();
    const types: number[] = [];
    const bytes = Buffer.concat(socket.written);
    for (let at = 0; at < bytes.length; at += 9 + bytes.readUIntBE(at, 3)) {
      types.push(bytes.readUInt8(at + 3));
    }
    return types;
  };
  assert.deepEqual(await frames(true), [frameType.headers]);
  assert.deepEqual(await frames(false), [frameType.headers, frameType.rstStream]);
});
