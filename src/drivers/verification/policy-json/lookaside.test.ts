import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";
import { pathToFileURL } from "node:url";

import { parseReference } from "../../../core/image/index.ts";
import { readSignatures } from "./lookaside.ts";

const hex = "c".repeat(64);
const image = {
  reference: parseReference("x.test/team/app:1"),
  digest: `sha256:${hex}` as const,
};
const options = { env: {}, signal: new AbortController().signal };
const texts = async (store: URL): Promise<readonly string[]> =>
  (await readSignatures(store, image, options)).map((bytes) => Buffer.from(bytes).toString());

describe("readSignatures() of a directory", () => {
  let dir: string;
  let store: URL;
  let signatures: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), "davit-lookaside-"));
    store = pathToFileURL(dir);
    signatures = join(dir, `team/app@sha256=${hex}`);
    mkdirSync(signatures, { recursive: true });
  });
  afterEach(() => rmSync(dir, { recursive: true }));

  test("reads from the first on until there is none", async () => {
    assert.deepEqual(await texts(store), []);
    for (const number of [1, 2, 4])
      writeFileSync(join(signatures, `signature-${number}`), `${number}`);
    assert.deepEqual(await texts(store), ["1", "2"]);
  });

  test("refuses more, larger and other files", async () => {
    for (let number = 1; number <= 33; number++) {
      writeFileSync(join(signatures, `signature-${number}`), `${number}`);
    }
    await assert.rejects(texts(store), /there are more than 32/);
    writeFileSync(join(signatures, "signature-1"), Buffer.alloc(65 * 1024));
    await assert.rejects(texts(store), /has more than 65536 bytes/);
    rmSync(join(signatures, "signature-1"));
    mkdirSync(join(signatures, "signature-1"));
    await assert.rejects(texts(store), /signature-1": it is not a file/);
  });
});

describe("readSignatures() of a server", () => {
  let server: Server;
  let store: URL;
  let seen: string[];
  let answer: (request: IncomingMessage, response: ServerResponse) => void;
  before(async () => {
    server = createServer((request, response) => {
      seen.push(request.url ?? "");
      answer(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    store = new URL(`http://user:s3cret@127.0.0.1:${(server.address() as AddressInfo).port}/sigs`);
  });
  beforeEach(() => void (seen = []));
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  const end = (response: ServerResponse, status: number, headers = {}): void =>
    void response.writeHead(status, headers).end("text");

  test("asks for one after the other until HTTP 404, with the password", async () => {
    answer = ({ url = "", headers }, response) => {
      assert.equal(headers.authorization, `Basic ${btoa("user:s3cret")}`);
      end(response, /signature-[12]$/.test(url) ? 200 : 404);
    };
    assert.deepEqual(await texts(store), ["text", "text"]);
    assert.deepEqual(seen[0], `/sigs/team/app@sha256=${hex}/signature-1`);
    assert.equal(seen.length, 3);
  });

  test("follows a few redirects, and none from TLS to plain HTTP", async () => {
    answer = ({ url = "" }, response) => {
      if (url.endsWith("signature-1")) end(response, 307, { location: "/other" });
      else end(response, url === "/other" ? 200 : 404);
    };
    assert.deepEqual(await texts(store), ["text"]);
    answer = ({ url = "" }, response) => end(response, 302, { location: url });
    await assert.rejects(texts(store), /it redirects more than 3 times/);
    answer = (_, response) => end(response, 302, { location: "file:///etc/passwd" });
    await assert.rejects(texts(store), /redirects to an address without TLS/);
  });

  test("is unavailable for every other answer, and names no password", async () => {
    answer = (_, response) => end(response, 403);
    await assert.rejects(texts(store), (error: Error & { kind?: string }) => {
      assert.equal(error.kind, "unavailable");
      assert.match(
        error.message,
        /^read "http:\/\/127.0.0.1:\d+\/sigs\/team\/.*\/signature-1": it answers with HTTP 403$/,
      );
      return true;
    });
    answer = (_, response) => void response.destroy();
    await assert.rejects(texts(store), { kind: "unavailable" });
    answer = (_, response) => void response.writeHead(200).end(Buffer.alloc(65 * 1024));
    await assert.rejects(texts(store), { kind: "resource-exhausted" });
  });

  test("stops when nobody waits", async () => {
    const stop = new AbortController();
    answer = () => stop.abort(new Error("nobody waits"));
    await assert.rejects(
      readSignatures(store, image, { env: {}, signal: stop.signal }),
      /nobody waits/,
    );
  });
});
