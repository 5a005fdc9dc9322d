// A store that seems to be on another machine: the test adds an address for it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { after, afterEach, before, beforeEach, test } from "node:test";

import { parseReference } from "../../../core/image/index.ts";
import { readSignatures } from "./lookaside.ts";

// For documentation (RFC 5737), on the loopback of this test's own network namespace.
const elsewhere = "192.0.2.1";
const metadata = "169.254.169.254";
const image = {
  reference: parseReference("x.test/app:1"),
  digest: `sha256:${"c".repeat(64)}` as const,
};
const { signal } = new AbortController();

let stack: AsyncDisposableStack;
before(() => {
  for (const address of [elsewhere, metadata]) {
    execFileSync("ip", ["address", "add", `${address}/32`, "dev", "lo"]);
  }
});
after(() => {
  for (const address of [elsewhere, metadata]) {
    execFileSync("ip", ["address", "delete", `${address}/32`, "dev", "lo"]);
  }
});
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

/** A server at an address; its origin. */
async function server(address: string, listener: RequestListener): Promise<string> {
  const listening = createServer(listener);
  listening.listen(0, address);
  await once(listening, "listening");
  stack.defer(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return `http://${address}:${(listening.address() as AddressInfo).port}`;
}

/** A store that leads to another server. */
const leadingTo = (target: string): RequestListener => {
  return ({ url = "" }, response) => {
    const isFirst = url.endsWith("signature-1");
    response.writeHead(isFirst ? 302 : 404, isFirst ? { location: `${target}/there` } : {}).end();
  };
};

test("a store elsewhere leads to no address of this node, and nothing is sent there", async () => {
  for (const address of ["127.0.0.1", metadata]) {
    let asked = 0;
    const inside = await server(address, (_, response) => {
      asked += 1;
      response.end("text");
    });
    const store = new URL(await server(elsewhere, leadingTo(inside)));
    const refused = { kind: "failed-precondition", message: /address that only this node reaches/ };
    await assert.rejects(readSignatures(store, image, { env: {}, signal }), refused);
    // Not by a detour either.
    const detour = await server(elsewhere, (_, response) => {
      response.writeHead(302, { location: `${inside}/there` }).end();
    });
    const other = new URL(await server(elsewhere, leadingTo(detour)));
    await assert.rejects(readSignatures(other, image, { env: {}, signal }), refused);
    assert.equal(asked, 0);
  }
});

test("a store on this node leads where it likes", async () => {
  for (const address of ["127.0.0.1", elsewhere]) {
    const target = await server(address, (_, response) => response.end("text"));
    const store = new URL(await server("127.0.0.1", leadingTo(target)));
    const found = await readSignatures(store, image, { env: {}, signal });
    assert.deepEqual(
      found.map((bytes) => Buffer.from(bytes).toString()),
      ["text"],
    );
  }
});
