import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { BlobStream } from "../../core/image/index.ts";
import { until } from "../../linux/testing/leaks.ts";
import { ConnectionRate, defaultRanges, inPieces } from "./ranges.ts";
import { openBlob, readAll, RegistryFixture } from "./testing/registry-fixture.ts";
import type { Script, Seen } from "./testing/scripted-registry.ts";

const fixture = new RegistryFixture();
const { client, fails, server } = fixture;

const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));
/** Every connection is too slow, and the pieces are small. */
const ranges = { pieceBytes: 40_000, minBytes: 50_000, sampleBytes: 1, enoughBytesPerSecond: 1e15 };

/** The range of a request that has one. */
function rangeOf({ headers }: Seen): readonly [begin: number, end: number] | undefined {
  const [, begin, last] = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "") ?? [];
  if (begin === undefined) return undefined;
  return [Number(begin), last === "" || last === undefined ? bytes.length : Number(last) + 1];
}

/** Serves the bytes with Range; the whole blob arrives in two parts, so that a reader waits. */
const honest: Script = async (seen, response) => {
  const range = rangeOf(seen);
  if (range !== undefined) {
    const [begin, end] = range;
    const part = bytes.subarray(begin, end);
    const contentRange = `bytes ${begin}-${end - 1}/${bytes.length}`;
    response.writeHead(206, { "content-length": part.length, "content-range": contentRange });
    response.end(part);
    return;
  }
  response.writeHead(200, { "content-length": bytes.length, "accept-ranges": "bytes" });
  response.write(bytes.subarray(0, 1000));
  await new Promise((resolve) => setImmediate(resolve));
  response.end(bytes.subarray(1000));
};

const open = async (script: Script): Promise<BlobStream> =>
  await openBlob(client({ ranges }), (await server(script)).host, bytes);

describe("a large blob from a slow host", () => {
  test("is fetched in pieces, which together are the blob", async () => {
    const host = await server(honest);
    const blob = await openBlob(client({ ranges }), host.host, bytes);
    assert.ok((await readAll(blob)).equals(bytes));
    const asked = host.seen.map(rangeOf).filter((range) => range !== undefined);
    assert.ok(asked.length >= 4, `${asked.length} ranges`);
    const sorted = asked.toSorted(([a], [b]) => a - b);
    for (const [at, [begin, end]] of sorted.entries()) {
      assert.ok(end - begin <= ranges.pieceBytes);
      assert.equal(end, sorted[at + 1]?.[0] ?? bytes.length);
    }
  });

  test("is read by one request where it must be", async () => {
    const without: Script = (_, response) => {
      response.writeHead(200, { "content-length": bytes.length });
      response.end(bytes);
    };
    const host = await server(without);
    assert.ok((await readAll(await openBlob(client({ ranges }), host.host, bytes))).equals(bytes));
    assert.equal(host.seen.length, 1);
    const off = await server(honest);
    const blob = await openBlob(client({ ranges: { ...ranges, requests: 1 } }), off.host, bytes);
    assert.ok((await readAll(blob)).equals(bytes));
    assert.equal(off.seen.length, 1);
  });

  test("a piece that breaks off is requested again from there", async () => {
    let isBroken = false;
    const host = await server((seen, response, request) => {
      const range = rangeOf(seen);
      if (range === undefined || isBroken) return honest(seen, response, request);
      isBroken = true;
      const [begin, end] = range;
      const contentRange = `bytes ${begin}-${end - 1}/${bytes.length}`;
      response.writeHead(206, { "content-length": end - begin, "content-range": contentRange });
      response.write(bytes.subarray(begin, begin + 100), () => request.socket.destroy());
    });
    assert.ok((await readAll(await openBlob(client({ ranges }), host.host, bytes))).equals(bytes));
  });

  test("wrong answers to ranges lead back to one request", async () => {
    const wrong: readonly ((begin: number, end: number) => readonly [number, object, Buffer])[] = [
      (begin, end) => [200, { "content-length": bytes.length }, bytes.subarray(begin, end)],
      (begin, end) => [206, {}, bytes.subarray(begin, end)],
      (begin, end) => [
        206,
        { "content-range": `bytes ${begin + 1}-${end - 1}/${bytes.length}` },
        bytes.subarray(begin, end),
      ],
      (begin, end) => [
        206,
        { "content-range": `bytes ${begin}-${end - 1}/${bytes.length + 1}` },
        bytes.subarray(begin, end),
      ],
      (begin, end) => [
        206,
        { "content-range": `bytes ${begin}-${end - 1}/${bytes.length}` },
        Buffer.concat([bytes.subarray(begin, end), Buffer.from("more")]),
      ],
    ];
    for (const [at, answer] of wrong.entries()) {
      const blob = await open((seen, response, request) => {
        const range = rangeOf(seen);
        // Only pieces have an end; the request that resumes has none.
        if (range === undefined || /-$/.test(seen.headers.range ?? "")) {
          return honest(seen, response, request);
        }
        const [status, headers, body] = answer(...range);
        response.writeHead(status, { ...headers }).end(body);
      });
      assert.ok((await readAll(blob)).equals(bytes), `case ${at}`);
    }
  });

  test("bytes that are wrong for a piece are not hidden by it: the reader's digest shows them", async () => {
    const blob = await open(async (seen, response, request) => {
      const range = rangeOf(seen);
      if (range === undefined) {
        await honest(seen, response, request);
        return;
      }
      const [begin, end] = range;
      const contentRange = `bytes ${begin}-${end - 1}/${bytes.length}`;
      response.writeHead(206, { "content-range": contentRange }).end(Buffer.alloc(end - begin));
    });
    const read = await readAll(blob);
    assert.equal(read.length, bytes.length);
    assert.ok(!read.equals(bytes));
  });

  test("a host that is gone fails the blob, and a reader that leaves ends all requests", async () => {
    const gone = await open((seen, response, request) => {
      if (seen.headers.range !== undefined) request.socket.destroy();
      else return honest(seen, response, request);
    });
    await fails(readAll(gone), "unavailable", /read blob|fetch blob/);
    const waiting = await server((seen, response, request) => {
      if (seen.headers.range === undefined) return honest(seen, response, request);
    });
    const blob = await openBlob(client({ ranges }), waiting.host, bytes);
    const chunks = blob.chunks[Symbol.asyncIterator]();
    const first = await chunks.next();
    assert.ok(first.done !== true);
    const rest = (async () => {
      while ((await chunks.next()).done !== true);
    })();
    rest.catch(() => undefined);
    await until("pieces are requested", () => waiting.seen.length > 2);
    assert.ok(waiting.seen.length <= 1 + defaultRanges.requests);
  });
});

describe("inPieces()", () => {
  test("keeps the order, a bounded number of pieces, and aborts them at its end", async () => {
    let [running, most] = [0, 0];
    const signals: AbortSignal[] = [];
    const options = { ...defaultRanges, requests: 3, pieceBytes: 10 };
    const pieces = inPieces({ begin: 5n, end: 98n }, options, async (from, to, signal) => {
      most = Math.max(most, ++running);
      signals.push(signal);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return [Buffer.from([Number(from), Number(to)])];
    });
    const seen: number[] = [];
    for await (const [from = 0, to = 0] of pieces) {
      assert.equal(from, seen.at(-1) ?? 5);
      seen.push(to);
      if (to === 75) break;
    }
    assert.ok(most <= 3);
    assert.ok(signals.every(({ aborted }) => aborted));
  });
});

describe("ConnectionRate", () => {
  test("a connection needs help when it is slow for long enough and much is left", () => {
    const slow = new ConnectionRate(defaultRanges);
    const much = BigInt(defaultRanges.minBytes);
    slow.add(defaultRanges.sampleBytes - 1, 10_000);
    assert.equal(slow.needsHelp(much), false);
    slow.add(1, 0);
    assert.equal(slow.needsHelp(much), true);
    assert.equal(slow.needsHelp(much - 1n), false);
    const fast = new ConnectionRate(defaultRanges);
    fast.add(100e6, 999);
    assert.equal(fast.needsHelp(much), false);
  });
});
