import assert from "node:assert/strict";
import { once } from "node:events";
import { describe, test } from "node:test";

import { bytesOf } from "../../base/unread-bytes.ts";
import { parseReference } from "../../core/image/index.ts";
import {
  anySignal,
  blobOf,
  fast,
  openBlob,
  readAll,
  RegistryFixture,
} from "./testing/registry-fixture.ts";
import { fetcherOf, type Script, serve, tinyImage } from "./testing/scripted-registry.ts";

const fixture = new RegistryFixture();
const { client, fails, server } = fixture;

describe("ImageFetcher.config()", () => {
  test("returns the checked bytes", async () => {
    const image = tinyImage("app");
    const host = await server(serve(image.content));
    const registry = client();
    const name = `${host.host}/app`;
    const fetcher = await registry.resolve(parseReference(name), undefined, anySignal);
    const bytes = await fetcher.config(anySignal);
    assert.deepEqual(Buffer.from(bytes), Buffer.from(image.config));
    assert.equal(await host.connections(), 1, "one connection serves all requests");

    const { config } = fetcher.image;
    const liar = await server((_, response) => void response.end("something else"));
    const other = fetcherOf(registry, `${liar.host}/app`, undefined, { config });
    await fails(other.config(anySignal), "data-loss", /config with digest/);
    const of = (sizeBytes: bigint): Promise<Uint8Array> =>
      fetcherOf(registry, name, undefined, { config: { ...config, sizeBytes } }).config(anySignal);
    await fails(of(config.sizeBytes + 1n), "data-loss", /config of \d+ bytes instead of/);
    await fails(of(100_000_000n), "failed-precondition", /100000000/);
  });
});

// A large body stays in the socket until it is read.
for (const size of [300_000, 3_000_000]) {
  describe(`ImageFetcher.blob() of ${size} bytes`, () => testBlob(size));
}

function testBlob(size: number): void {
  const bytes = Buffer.from(Array.from({ length: size }, (_, index) => (index * 7) % 251));

  /** Serves `bytes` with Range. */
  const ranged: Script = ({ headers }, response) => {
    const begin = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const rest = bytes.subarray(begin);
    if (begin === 0)
      return void response.writeHead(200, { "content-length": rest.length }).end(rest);
    const range = `bytes ${begin}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(206, { "content-length": rest.length, "content-range": range }).end(rest);
  };

  test("streams the whole blob", async () => {
    const host = await server(ranged);
    const whole = await openBlob(client(), host.host, bytes);
    assert.equal(whole.sizeBytes, BigInt(size));
    assert.deepEqual(await readAll(whole), bytes);
    assert.equal(host.seen.length, 1);
  });

  test("streams the whole blob over TLS", async () => {
    const host = await server(ranged, fixture.certificates);
    const text = `server = "https://${host.host}"\nskip_verify = true`;
    const registry = client({ configDir: fixture.hostsToml("x.test", text) });
    for (let reads = 0; reads < 2; reads++) {
      const stream = await openBlob(registry, "x.test", bytes);
      const chunks: Uint8Array[] = [];
      for await (const chunk of stream.chunks) {
        assert.ok(chunk instanceof Uint8Array);
        chunks.push(Buffer.from(chunk));
      }
      assert.ok(Buffer.concat(chunks).equals(bytes));
    }
  });

  /** Sends the first bytes and closes the connection; later requests go to `then`. */
  const broken =
    (size: number, then: Script): Script =>
    (seen, response, request) => {
      if (seen.headers.range !== undefined) return then(seen, response, request);
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, size), () => request.socket.destroy());
    };

  test("reads from the beginning where a server cannot resume, and logs it", async () => {
    const host = await server(broken(123_456, (_, response) => void response.end(bytes)));
    assert.deepEqual(await readAll(await openBlob(client(), host.host, bytes)), bytes);
    const { lines } = fixture.log;
    assert.ok(lines.some(({ message }) => message.startsWith("registry cannot resume")));
  });

  test("refuses a length or range that was not requested", async () => {
    const short = await server(
      (_, response) => void response.writeHead(200, { "content-length": 3 }).end("abc"),
    );
    await fails(
      openBlob(client(), short.host, bytes),
      "data-loss",
      new RegExp(`has 3 bytes for a blob of ${size} bytes`),
    );
    const ranges = ["bytes 0-299999/300000", "bytes 10-299999/300001", "", "bytes x"];
    for (const range of ranges) {
      const headers = range === "" ? {} : { "content-range": range };
      const host = await server(
        broken(10, (_, response) => void response.writeHead(206, headers).end("abc")),
      );
      await fails(
        readAll(await openBlob(client(), host.host, bytes)),
        "data-loss",
        /for bytes from 10 of 300000/,
      );
    }
    // Without a length, surplus bytes are noticed only while they are read.
    const long = await server((_, response) => {
      response.write(bytes);
      response.end("more");
    });
    await fails(
      readAll(await openBlob(client(), long.host, bytes)),
      "data-loss",
      /more than the blob's/,
    );
  });

  test("resumes a download at the byte where it broke off", async () => {
    let count = 0;
    const host = await server((seen, response, request) => {
      count += 1;
      if (count > 2) return ranged(seen, response, request);
      const begin = count === 1 ? 0 : 100_000;
      const range = `bytes ${begin}-${bytes.length - 1}/${bytes.length}`;
      const headers = { "content-length": bytes.length - begin, "content-range": range };
      response.writeHead(count === 1 ? 200 : 206, headers);
      response.write(bytes.subarray(begin, begin + 100_000), () => request.socket.destroy());
    });
    assert.deepEqual(await readAll(await openBlob(client(), host.host, bytes)), bytes);
    assert.deepEqual(
      host.seen.map(({ headers }) => headers.range),
      [undefined, "bytes=100000-", "bytes=200000-"],
    );
  });

  test("gives up a download that keeps breaking off with little progress", async () => {
    const host = await server((_, response, request) => {
      response.writeHead(200, { "content-length": bytes.length });
      response.write("a", () => request.socket.destroy());
    });
    await fails(
      readAll(await openBlob(client(), host.host, bytes)),
      "unavailable",
      /^RegistryUnavailable: read blob/,
    );
    assert.equal(host.seen.length, 4);
  });

  test("gives up a server that stalls or trickles", async () => {
    const stalled = await server((_, response) => {
      response.writeHead(200, { "content-length": bytes.length });
      response.write("a");
    });
    const idle = client({ timing: { ...fast, idleTimeoutMs: 30 } });
    await fails(
      readAll(await openBlob(idle, stalled.host, bytes)),
      "unavailable",
      /sent nothing for 0\.03 s/,
    );

    const trickling = await server((_, response) => {
      response.writeHead(200, { "content-length": bytes.length });
      const timer = setInterval(() => response.write("a"), 5);
      response.on("close", () => clearInterval(timer));
    });
    const timing = { ...fast, rateWindowMs: 50, minBytesPerSecond: 1000 };
    await fails(
      readAll(await openBlob(client({ timing }), trickling.host, bytes)),
      "unavailable",
      /is too slow/,
    );
  });

  test("does not count the reader's pauses against the server", async () => {
    const host = await server(ranged);
    const timing = { ...fast, idleTimeoutMs: 500 };
    const stream = await openBlob(client({ timing }), host.host, bytes);
    let read = 0;
    for await (const chunk of stream.chunks) {
      if (read === 0) await new Promise((resolve) => setTimeout(resolve, 700));
      read += (await bytesOf(chunk)).length;
    }
    assert.equal(read, bytes.length);
    assert.equal(host.seen.length, 1);
  });

  test("applies backpressure to the server", async () => {
    const total = 64 * 1024 * 1024;
    const piece = Buffer.alloc(1024 * 1024);
    let sent = 0;
    const blocked = Promise.withResolvers<undefined>();
    const host = await server(async (_, response) => {
      response.writeHead(200, { "content-length": total });
      for (; sent < total; sent += piece.length) {
        if (response.write(piece)) continue;
        const drained = once(response, "drain").then(() => true);
        const timer = setTimeout(() => blocked.resolve(undefined), 200);
        await Promise.race([drained, once(response, "close")]);
        clearTimeout(timer);
        if (response.destroyed) return;
      }
      blocked.resolve(undefined);
    });
    const blob = { ...blobOf(piece), sizeBytes: BigInt(total) };
    const stream = await fetcherOf(client(), `${host.host}/app`).blob(blob, anySignal);
    await blocked.promise;
    assert.ok(sent < total / 2, `the server could send ${sent} bytes without a reader`);
    await stream[Symbol.asyncDispose]();
  });

  test("closes the connection when the read is aborted or abandoned", async () => {
    const closed: Promise<unknown>[] = [];
    const host = await server((_, response, request) => {
      closed.push(once(request.socket, "close"));
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 1000));
    });
    const controller = new AbortController();
    const aborted = await openBlob(client(), host.host, bytes, controller.signal);
    const reading = readAll(aborted);
    controller.abort();
    await fails(reading, "canceled");
    const left = await openBlob(client(), host.host, bytes);
    for await (const _ of left.chunks) break;
    const unread = await openBlob(client(), host.host, bytes);
    await unread[Symbol.asyncDispose]();
    assert.equal(closed.length, 3);
    await Promise.all(closed);
  });
}
