// A registry that seems to be on another machine: the test adds an address for it.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { isKind, messageOf } from "../../base/errors.ts";
import { silentLogger } from "../../base/logger.ts";
import { type ImageFetcher, parseReference } from "../../core/image/index.ts";
import { Registry } from "./registry.ts";
import { ociManifest, tinyImage } from "./testing/scripted-registry.ts";

// For documentation (RFC 5737), on the loopback of this test's own network namespace.
const elsewhere = "192.0.2.1";
const isLocalRefused = (error: unknown): true => {
  assert.ok(isKind(error, "failed-precondition"), messageOf(error));
  assert.match(messageOf(error), /at an address that only this node reaches/);
  return true;
};

let stack: AsyncDisposableStack;

before(() => {
  execFileSync("ip", ["address", "add", `${elsewhere}/32`, "dev", "lo"]);
  execFileSync("ip", ["address", "add", "169.254.169.254/32", "dev", "lo"]);
});
after(() => {
  for (const address of [elsewhere, "169.254.169.254"]) {
    execFileSync("ip", ["address", "delete", `${address}/32`, "dev", "lo"]);
  }
});
beforeEach(() => {
  stack = new AsyncDisposableStack();
});
afterEach(() => stack.disposeAsync());

/** A server at an address; its host and port. */
async function server(address: string, listener: RequestListener): Promise<string> {
  const listening = createServer(listener);
  listening.listen(0, address);
  await once(listening, "listening");
  stack.defer(() => {
    listening.closeAllConnections();
    listening.close();
  });
  return `${address}:${(listening.address() as AddressInfo).port}`;
}

/** A service for this node alone, which counts its requests. */
async function inside(
  address: string,
): Promise<{ readonly host: string; readonly asked: () => number }> {
  let count = 0;
  const host = await server(address, (_, response) => {
    count += 1;
    response.end('{"token": "of-the-node"}');
  });
  return { host, asked: () => count };
}

/** Resolves an image of `x.test`, which is this host, without TLS. */
function resolve(host: string, proxyEnv = {}): Promise<ImageFetcher> {
  const configDir = mkdtempSync(join(tmpdir(), "davit-redirects-"));
  stack.defer(() => {
    rmSync(configDir, { recursive: true });
  });
  mkdirSync(join(configDir, "x.test"));
  writeFileSync(join(configDir, "x.test", "hosts.toml"), `server = "http://${host}"`);
  const timing = { backoffMs: [], answerTimeoutMs: 5000 };
  const registry = stack.use(new Registry({ configDir, log: silentLogger, timing, proxyEnv }));
  return registry.resolve(parseReference("x.test/app"), undefined, new AbortController().signal);
}

describe("a registry on another machine", () => {
  for (const address of ["127.0.0.1", "169.254.169.254"]) {
    test(`has nothing asked at ${address} by a redirect`, async () => {
      const service = await inside(address);
      const host = await server(elsewhere, (_, response) => {
        response.writeHead(307, { location: `http://${service.host}/secret` }).end();
      });
      await assert.rejects(resolve(host), isLocalRefused);
      assert.equal(service.asked(), 0);
    });

    test(`has nothing asked at ${address} as its token service`, async () => {
      const service = await inside(address);
      const tokens: unknown[] = [];
      const host = await server(elsewhere, ({ headers }, response) => {
        tokens.push(headers.authorization);
        const challenge = `Bearer realm="http://${service.host}/token"`;
        response.writeHead(401, { "www-authenticate": challenge }).end();
      });
      await assert.rejects(resolve(host), isLocalRefused);
      assert.equal(service.asked(), 0);
      assert.deepEqual(tokens, [undefined]);
    });
  }

  test("is asked through a proxy of this node, as is where it redirects to", async () => {
    const image = tinyImage("app");
    const asked: unknown[] = [];
    const proxy = await server("127.0.0.1", ({ url = "" }, response) => {
      asked.push(url);
      if (url.startsWith("http://store.test/")) {
        response.writeHead(200, { "content-type": ociManifest }).end(image.manifest);
      } else response.writeHead(307, { location: "http://store.test/manifest" }).end();
    });
    assert.equal(
      (await resolve("y.test", { http_proxy: `http://${proxy}` })).image.layers.length,
      1,
    );
    assert.match(String(asked[0]), /^http:\/\/y\.test\/v2\//);
  });

  test("has nothing of this node asked through a proxy either", async () => {
    const service = await inside("127.0.0.1");
    for (const location of [`http://${service.host}/secret`, "http://169.254.169.254/secret"]) {
      const proxy = await server("127.0.0.1", (_, response) => {
        response.writeHead(307, { location }).end();
      });
      await assert.rejects(resolve("y.test", { http_proxy: `http://${proxy}` }), isLocalRefused);
    }
    assert.equal(service.asked(), 0);
  });

  test("may redirect to another one, and one of this node to wherever it likes", async () => {
    const image = tinyImage("app");
    const serve: RequestListener = (_, response) => {
      response.writeHead(200, { "content-type": ociManifest }).end(image.manifest);
    };
    for (const [from, to] of [
      [elsewhere, elsewhere],
      ["127.0.0.1", elsewhere],
      ["127.0.0.1", "127.0.0.1"],
    ] as const) {
      const store = await server(to, serve);
      const host = await server(from, (_, response) => {
        response.writeHead(307, { location: `http://${store}/manifest` }).end();
      });
      assert.equal((await resolve(host)).image.layers.length, 1);
    }
  });
});
