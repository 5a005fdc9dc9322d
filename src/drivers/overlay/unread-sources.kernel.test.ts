import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { open } from "node:fs/promises";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { hexOf } from "../../base/digest.ts";
import { isKind, RuntimeError } from "../../base/errors.ts";
import type { BlobChunk } from "../../base/unread-bytes.ts";
import type { LayerSource } from "../../core/snapshot/index.ts";
import { UnreadSocket } from "../../linux/stream/index.ts";
import { childPids, openFds, until } from "../../linux/testing/leaks.ts";
import { buildTar } from "../../unpack/testing/tar-builder.ts";
import { never, OverlayFixture } from "./testing/fixture.ts";
import { sourceOf, TestOverlay } from "./testing/layers.ts";

const fixture = new OverlayFixture();
let stack: AsyncDisposableStack;
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

const data = Buffer.from(Array.from({ length: 3_000_000 }, (_, index) => (index * 7) % 251));
const tar = buildTar([{ name: "large", data }]);

/** The bytes after the first 100, in a socket; its other end. */
async function socketWith(): Promise<{ readonly unread: UnreadSocket; readonly peer: Socket }> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const [[peer]] = (await Promise.all([once(server, "connection"), once(socket, "connect")])) as [
    [Socket],
    unknown,
  ];
  server.close();
  const { fd, readStop } = (socket as unknown as { _handle: Handle })._handle;
  readStop.call((socket as unknown as { _handle: Handle })._handle);
  const unread = new UnreadSocket(fd);
  peer.on("error", () => undefined);
  stack.defer(() => {
    unread[Symbol.dispose]();
    socket.destroy();
    peer.destroy();
  });
  return { unread, peer };
}

interface Handle {
  readonly fd: number;
  readonly readStop: () => number;
}

/** The layer, whose first bytes are in memory. */
async function* chunksOf(unread: UnreadSocket): AsyncGenerator<BlobChunk> {
  yield tar.subarray(0, 100);
  for (let left = tar.length - 100; left > 0; ) {
    const count = Math.min(left, await unread.wait(), 1024 * 1024);
    if (count === 0) throw new Error("the connection ended");
    yield unread.take(count);
    left -= count;
  }
}

async function socketSource(sent = tar.length): Promise<LayerSource> {
  const { unread, peer } = await socketWith();
  peer.write(tar.subarray(100, sent));
  return { ...sourceOf(tar), chunks: chunksOf(unread) };
}

describe("a layer whose bytes stay in a socket", () => {
  test("is unpacked", async () => {
    const source = await socketSource();
    await fixture.layers.unpack(source, never);
    const path = join(fixture.root, "layers", hexOf(source.diffId), "fs/large");
    assert.deepEqual(readFileSync(path), data);
  });

  test("can be read where the system cannot move its bytes", async () => {
    const { unread, peer } = await socketWith();
    peer.write("bytes");
    const bytes = unread.take(await unread.wait());
    // splice(2) needs a pipe.
    await using file = await open("/dev/null", "w");
    const pipe = { fd: file.fd, writable: () => Promise.resolve() };
    await assert.rejects(bytes.moveTo(pipe), (error) => isKind(error, "failed-precondition"));
    assert.equal(Buffer.from(await bytes.read()).toString(), "bytes");
  });

  test("is unpacked where the system cannot move bytes", async () => {
    let read = 0;
    async function* chunks(): AsyncGenerator<BlobChunk> {
      yield tar.subarray(0, 100);
      for (let at = 100; at < tar.length; at += 1_000_000) {
        const part = tar.subarray(at, at + 1_000_000);
        const error = new RuntimeError("failed-precondition", "splice: EINVAL");
        yield {
          length: part.length,
          moveTo: () => Promise.reject(error),
          read: () => Promise.resolve(part).finally(() => (read += part.length)),
        };
      }
    }
    const source = { ...sourceOf(tar), chunks: chunks() };
    await fixture.layers.unpack(source, never);
    const path = join(fixture.root, "layers", hexOf(source.diffId), "fs/large");
    assert.deepEqual(readFileSync(path), data);
    assert.equal(read, tar.length - 100);
  });

  test("is kept in a file where no unpacker is free", async () => {
    await using busy = await TestOverlay.open(join(fixture.directory, "busy"), {
      turns: { slots: 0 },
    });
    await busy.layers.unpack(await socketSource(), never);
    assert.ok(busy.layers.has(sourceOf(tar).diffId));
  });

  test("abort: ends the process, and fails with the signal's reason", async () => {
    const before = openFds(process.pid).size;
    const controller = new AbortController();
    const call = fixture.layers.unpack(await socketSource(2_000_000), controller.signal);
    await until("an unpacker runs", () => childPids().length === 1);
    const reason = new Error("enough");
    controller.abort(reason);
    await assert.rejects(call, (error) => error === reason);
    fixture.assertNoLayers();
    assert.deepEqual(childPids(), []);
    await stack.disposeAsync();
    await until("all is closed", () => openFds(process.pid).size <= before);
  });

  test("a failure of the source is passed on unchanged", async () => {
    const { unread, peer } = await socketWith();
    peer.end(tar.subarray(100, 2_000_000));
    const call = fixture.layers.unpack({ ...sourceOf(tar), chunks: chunksOf(unread) }, never);
    await assert.rejects(call, /the connection ended/);
    fixture.assertNoLayers();
  });

  test("an unpacker that is killed, and one that reads nothing, are reported", async () => {
    const call = fixture.layers.unpack(await socketSource(2_000_000), never);
    await until("an unpacker runs", () => childPids().length === 1);
    for (const pid of childPids()) process.kill(pid, "SIGKILL");
    await assert.rejects(call, /unpacker ended with signal 9 and no report/);
    fixture.assertNoLayers();

    await using slow = await TestOverlay.open(join(fixture.directory, "slow"), {
      unpacker: { file: "/bin/sh", args: ["-c", "exec sleep 1000"] },
      stallMs: 50,
    });
    const stalled = slow.layers.unpack(await socketSource(), never);
    await assert.rejects(stalled, /made no progress for 50 ms: killed/);
  });
});
