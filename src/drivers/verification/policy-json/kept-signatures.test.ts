import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { silentLogger } from "../../../base/logger.ts";
import { parseReference } from "../../../core/image/index.ts";
import { KeptSignatures } from "./kept-signatures.ts";

const image = {
  reference: parseReference("x.test/team/app:1"),
  digest: `sha256:${"c".repeat(64)}` as const,
};

describe("KeptSignatures", () => {
  let server: Server;
  let store: URL;
  let directory: string;
  /** Of the store, or that it does not answer. */
  let signatures: readonly string[] | undefined;

  before(async () => {
    server = createServer(({ url = "" }, response) => {
      const number = Number(/signature-(\d+)$/.exec(url)?.[1]);
      const signature = signatures?.[number - 1];
      if (signatures === undefined) response.writeHead(503).end();
      else if (signature === undefined) response.writeHead(404).end();
      else response.end(signature);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    store = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/sigs`);
  });
  after(() => {
    server.close();
    server.closeAllConnections();
  });
  beforeEach(() => void (directory = join(mkdtempSync(join(tmpdir(), "davit-kept-")), "kept")));
  afterEach(() => rmSync(join(directory, ".."), { recursive: true }));

  const read = async (of = image): Promise<readonly string[]> => {
    const kept = new KeptSignatures({ directory, log: silentLogger });
    const options = { env: {}, signal: new AbortController().signal };
    return (await kept.read(store, of, options)).map((bytes) => Buffer.from(bytes).toString());
  };

  test("has those of the last answer while the store does not answer", async () => {
    signatures = undefined;
    await assert.rejects(read(), { kind: "unavailable" });
    signatures = ["one", "two"];
    assert.deepEqual(await read(), ["one", "two"]);
    signatures = undefined;
    assert.deepEqual(await read(), ["one", "two"]);
    await assert.rejects(read({ ...image, digest: `sha256:${"d".repeat(64)}` }), {
      kind: "unavailable",
    });
    const reference = parseReference("x.test/other:1");
    await assert.rejects(read({ ...image, reference }), { kind: "unavailable" });
  });

  test("forgets what the store removes", async () => {
    signatures = ["one"];
    await read();
    signatures = [];
    assert.deepEqual(await read(), []);
    signatures = undefined;
    await assert.rejects(read(), { kind: "unavailable" });
    assert.deepEqual(readdirSync(directory), []);
  });

  test("has none where its file is broken", async () => {
    signatures = ["one"];
    await read();
    const [name = ""] = readdirSync(directory);
    signatures = undefined;
    for (const text of ["{", "{}", "[1]"]) {
      writeFileSync(join(directory, name), text);
      await assert.rejects(read(), { kind: "unavailable" });
    }
  });

  test("removes those that were used longest ago", async () => {
    mkdirSync(directory);
    for (let number = 0; number < 1024; number++) {
      const path = join(directory, `${number}.json`);
      writeFileSync(path, "[]");
      utimesSync(path, number + 1, number + 1);
    }
    signatures = ["one"];
    await read();
    const names = readdirSync(directory);
    assert.equal(names.length, 960);
    assert.equal(names.includes("0.json"), false);
    assert.equal(names.includes("1023.json"), true);
    signatures = undefined;
    assert.deepEqual(await read(), ["one"]);
  });
});
