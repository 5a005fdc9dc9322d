import assert from "node:assert/strict";
import { once } from "node:events";
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
import { get, type IncomingMessage } from "node:http";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { errnoCode } from "../../base/system-error.ts";
import { bytesOf, type UnreadBytes } from "../../base/unread-bytes.ts";
import { makeFifo, PipeEnd } from "../../linux/stream/index.ts";
import { openFds, until } from "../../linux/testing/leaks.ts";
import { UnreadBody } from "./unread-body.ts";

const directory = mkdtempSync(join(tmpdir(), "davit-unread-"));
after(() => rmSync(directory, { recursive: true }));
let count = 0;

const size = 2_500_000;
const bytes = Buffer.from(Array.from({ length: size }, (_, index) => (index * 7) % 251));
const head = `HTTP/1.1 200 OK\r\ncontent-length: ${size}\r\n\r\n`;

/** The answer of a server that writes whatever `send` writes. */
async function answerOf(
  stack: AsyncDisposableStack,
  send: (socket: Socket) => void,
): Promise<IncomingMessage> {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    stack.defer(() => void socket.destroy());
    socket.once("data", () => send(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  stack.defer(() => void server.close());
  const request = get({ port: (server.address() as AddressInfo).port, host: "127.0.0.1" });
  request.on("error", () => undefined);
  const [message] = (await once(request, "response")) as [IncomingMessage];
  message.on("error", () => undefined);
  stack.defer(() => void message.destroy());
  return message;
}

function bodyOf(message: IncomingMessage): UnreadBody {
  const body = UnreadBody.of(message, BigInt(size));
  assert.ok(body !== undefined);
  return body;
}

async function readAll(body: UnreadBody): Promise<Buffer> {
  const parts: Uint8Array[] = [];
  for (let part = await body.next(); part !== undefined; part = await body.next()) {
    parts.push(await bytesOf(part));
  }
  return Buffer.concat(parts);
}

/** The next part that is still in the socket. */
async function nextUnread(body: UnreadBody): Promise<UnreadBytes> {
  for (;;) {
    const part = await body.next();
    assert.ok(part !== undefined, "all was read by Node.js");
    if (!(part instanceof Uint8Array)) return part;
  }
}

function openFifo(): { readonly read: number; readonly write: number } {
  const path = join(directory, String(count++));
  makeFifo(path);
  const { O_RDONLY, O_WRONLY, O_NONBLOCK } = constants;
  const read = openSync(path, O_RDONLY | O_NONBLOCK);
  return { read, write: openSync(path, O_WRONLY | O_NONBLOCK) };
}

describe("UnreadBody", () => {
  test("has the whole body, also what Node.js has read and parsed already", async () => {
    await using stack = new AsyncDisposableStack();
    const rest = Promise.withResolvers<Socket>();
    const message = await answerOf(stack, (socket) => {
      socket.write(head);
      socket.write(bytes.subarray(0, 1000));
      rest.resolve(socket);
    });
    await until("the first bytes are parsed", () => message.readableLength === 1000);
    const body = bodyOf(message);
    assert.deepEqual(await body.next(), bytes.subarray(0, 1000));
    (await rest.promise).write(bytes.subarray(1000));
    const next = await body.next();
    assert.ok(next !== undefined && !(next instanceof Uint8Array), "it stays in the socket");
    const read = [await next.read(), await readAll(body)];
    assert.deepEqual(Buffer.concat(read), bytes.subarray(1000));
  });

  test("ends after its length, whatever follows", async () => {
    await using stack = new AsyncDisposableStack();
    const message = await answerOf(stack, (socket) => {
      socket.write(head);
      socket.write(bytes);
      socket.write("more than it said");
    });
    assert.deepEqual(await readAll(bodyOf(message)), bytes);
  });

  test("rejects when the connection ends or is reset before the end", async () => {
    for (const cut of [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.resetAndDestroy(),
    ]) {
      await using stack = new AsyncDisposableStack();
      const message = await answerOf(stack, (socket) => {
        socket.write(head);
        socket.write(bytes.subarray(0, 2_000_000), () => cut(socket));
      });
      const reading = readAll(bodyOf(message));
      await assert.rejects(reading, (error) => /ECONNRESET|PREMATURE/.test(errnoCode(error) ?? ""));
    }
  });

  test("rejects with what the message was destroyed with, and keeps no descriptor", async () => {
    await using stack = new AsyncDisposableStack();
    const before = openFds(process.pid).size;
    const message = await answerOf(stack, (socket) => socket.write(head));
    const body = bodyOf(message);
    const waiting = body.next();
    message.destroy(new Error("the caller has left"));
    await assert.rejects(waiting, /the caller has left/);
    await assert.rejects(body.next(), /the caller has left/);
    await stack.disposeAsync();
    await until("all is closed", () => openFds(process.pid).size <= before);
  });

  test("is not used for a small body and one of unknown length", async () => {
    await using stack = new AsyncDisposableStack();
    const message = await answerOf(stack, (socket) => socket.write(head));
    assert.equal(UnreadBody.of(message, undefined), undefined);
    assert.equal(UnreadBody.of(message, 1000n), undefined);
    const encrypted = { encrypted: true };
    const other = Object.assign(Object.create(message) as IncomingMessage, { socket: encrypted });
    assert.equal(UnreadBody.of(other, BigInt(size)), undefined);
  });

  test("moves its bytes into a pipe as fast as that is read", async () => {
    await using stack = new AsyncDisposableStack();
    const { read, write } = openFifo();
    stack.defer(() => closeSync(read));
    using pipe = new PipeEnd(write);
    closeSync(write);
    const message = await answerOf(stack, (socket) => {
      socket.write(head);
      socket.write(bytes);
    });
    const body = bodyOf(message);
    const received: Buffer[] = [];
    const take = (): void => {
      const piece = Buffer.alloc(65_536);
      received.push(piece.subarray(0, readSync(read, piece)));
    };
    let written = 0;
    for (let part = await body.next(); part !== undefined; part = await body.next()) {
      if (part instanceof Uint8Array) {
        received.push(Buffer.from(part));
        written += part.length;
        continue;
      }
      const moved = { isMoved: false };
      const moving = part.moveTo(pipe).then(() => (moved.isMoved = true));
      written += part.length;
      // A pipe has room for less than all of it.
      while (!moved.isMoved || received.reduce((sum, { length }) => sum + length, 0) < written) {
        try {
          take();
        } catch (error) {
          assert.equal(errnoCode(error), "EAGAIN");
        }
        await new Promise((resolve) => setImmediate(resolve));
      }
      await moving;
    }
    assert.deepEqual(Buffer.concat(received), bytes);
  });

  test("fails to move bytes that nobody reads, or whose connection was closed meanwhile", async () => {
    await using stack = new AsyncDisposableStack();
    const message = await answerOf(stack, (socket) => {
      socket.write(head);
      socket.write(bytes);
    });
    const body = bodyOf(message);
    const { read, write } = openFifo();
    using pipe = new PipeEnd(write);
    closeSync(write);
    // More than the pipe has room for.
    const part = await nextUnread(body);
    const moving = part.moveTo(pipe);
    closeSync(read);
    if (part.length > 65_536) await assert.rejects(moving, { code: "EPIPE" });
    else await moving.catch((error: unknown) => assert.equal(errnoCode(error), "EPIPE"));
    const next = await nextUnread(body);
    message.destroy();
    await once(message, "close");
    await assert.rejects(next.moveTo(pipe), /closed/);
  });
});
