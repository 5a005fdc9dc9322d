import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { silentLogger } from "../../base/logger.ts";
import type { RegistryAuth } from "../../core/image/index.ts";
import { BlobGrants } from "./blob-grants.ts";
import { Registry } from "./registry.ts";
import {
  digestOf,
  fetcherOf,
  ScriptedRegistry,
  type Script,
  someAuth,
} from "./testing/scripted-registry.ts";

const anySignal = new AbortController().signal;
const bytes = Buffer.from("layer".repeat(100));
const blob = {
  mediaType: "application/vnd.oci.image.layer.v1.tar",
  digest: digestOf(bytes),
  sizeBytes: BigInt(bytes.length),
};
const path = (repository: string): string => `/v2/${repository}/blobs/${blob.digest}`;

let stack: AsyncDisposableStack;
let nowMs: number;

beforeEach(() => {
  stack = new AsyncDisposableStack();
  nowMs = 1_000_000;
});
afterEach(() => stack.disposeAsync());

function client(configDir = "/nowhere"): Registry {
  const clock = { nowMs: () => nowMs, nowNs: () => 0n };
  const timing = { backoffMs: [], answerTimeoutMs: 5000 };
  return stack.use(new Registry({ configDir, log: silentLogger, clock, timing }));
}

async function server(script: Script): Promise<ScriptedRegistry> {
  return stack.use(await ScriptedRegistry.open(script));
}

const ask = (
  registry: Registry,
  name: string,
  auth?: RegistryAuth,
  signal = anySignal,
): Promise<boolean> => fetcherOf(registry, name, auth).hasBlob(blob, signal);

const size = { "content-length": bytes.length };
const granting: Script = (_, response) => void response.writeHead(200, size).end();
const status =
  (code: number): Script =>
  (_, response) =>
    void response.writeHead(code).end();

/** Answers HEAD with this status, and a GET by `get`. */
const withoutHead =
  (code: number, get: Script): Script =>
  (seen, response, request) =>
    (seen.method === "HEAD" ? status(code) : get)(seen, response, request);

describe("ImageFetcher.hasBlob()", () => {
  test("asks by HEAD, and keeps the connection", async () => {
    const host = await server(granting);
    const registry = client();
    assert.equal(await ask(registry, `${host.host}/app`), true);
    assert.equal(await ask(registry, `${host.host}/other`), true);
    assert.deepEqual(host.asked, [`HEAD ${path("app")}`, `HEAD ${path("other")}`]);
    assert.equal(await host.connections(), 1);
  });

  test("is false for a blob of another size or digest, or that is not there", async () => {
    const answers: readonly Script[] = [
      (_, response) => void response.writeHead(200, { "content-length": 499 }).end(),
      (_, response) => {
        const other = { ...size, "docker-content-digest": digestOf(Buffer.from("other")) };
        response.writeHead(200, other).end();
      },
      status(404),
      status(403),
      status(401),
      status(503),
    ];
    for (const answer of answers) {
      const host = await server(answer);
      assert.equal(await ask(client(), `${host.host}/app`), false);
    }
  });

  test("asks for the first byte where a host does not answer a HEAD", async () => {
    const ranged: Script = (_, response) => {
      const range = `bytes 0-0/${bytes.length}`;
      response.writeHead(206, { "content-range": range, "content-length": 1 });
      response.end(bytes.subarray(0, 1));
    };
    const whole: Script = (_, response) => void response.writeHead(200, size).end(bytes);
    for (const code of [400, 403, 404, 405, 501, 200]) {
      for (const get of [ranged, whole]) {
        const host = await server(withoutHead(code, get));
        assert.equal(await ask(client(), `${host.host}/app`), true, String(code));
        assert.deepEqual(host.asked, [`HEAD ${path("app")}`, `GET ${path("app")}`]);
        assert.equal(host.seen[1]?.headers.range, "bytes=0-0");
      }
    }
    const wrong = ["bytes 0-0/499", "bytes 0-0/*", "bytes 1-1/500", "bytes */500", ""];
    for (const range of wrong) {
      const odd: Script = (_, response) =>
        void response.writeHead(206, { "content-range": range }).end("l");
      const host = await server(withoutHead(405, odd));
      assert.equal(await ask(client(), `${host.host}/app`), false, range);
    }
  });

  test("goes through a redirect, and believes what is there", async () => {
    const store = await server(granting);
    const empty = await server(status(404));
    for (const [target, is] of [
      [store, true],
      [empty, false],
    ] as const) {
      const location = `http://${target.host}/blob?sig=1`;
      const host = await server((_, response) => void response.writeHead(307, { location }).end());
      assert.equal(await ask(client(), `${host.host}/app`), is);
      assert.equal(target.asked[0], "HEAD /blob?sig=1");
    }
  });

  test("remembers it for 5 minutes, by name and credentials", async () => {
    const host = await server(granting);
    const registry = client();
    const [alice, bob] = ["alice", "bob"].map((username) => someAuth({ username, password: "p" }));
    const asked = async (name: string, auth?: RegistryAuth): Promise<number> => {
      const before = host.seen.length;
      assert.equal(await ask(registry, `${host.host}/${name}`, auth), true);
      return host.seen.length - before;
    };
    assert.equal(await asked("app", alice), 1);
    nowMs += 299_999;
    assert.equal(await asked("app", alice), 0);
    assert.equal(await asked("app", bob), 1);
    assert.equal(await asked("app"), 1);
    assert.equal(await asked("other", alice), 1);
    nowMs += 1;
    assert.equal(await asked("app", alice), 1);
  });

  test("does not remember that there was none", async () => {
    let isThere = false;
    const host = await server((seen, response, request) =>
      (isThere ? granting : status(404))(seen, response, request),
    );
    const registry = client();
    assert.equal(await ask(registry, `${host.host}/app`), false);
    isThere = true;
    assert.equal(await ask(registry, `${host.host}/app`), true);
  });

  test("asks the mirrors in their order, then the server", async () => {
    const empty = await server(status(404));
    const mirror = await server(granting);
    const upstream = await server(granting);
    const configDir = mkdtempSync(join(tmpdir(), "davit-grants-"));
    stack.defer(() => {
      rmSync(configDir, { recursive: true });
    });
    mkdirSync(join(configDir, "x.test"));
    const hosts = [empty, mirror].map(({ host }) => `[host."http://${host}"]`);
    const text = [`server = "http://${upstream.host}"`, ...hosts].join("\n");
    writeFileSync(join(configDir, "x.test", "hosts.toml"), text);
    assert.equal(await ask(client(configDir), "x.test/app"), true);
    const question = `HEAD ${path("app")}?ns=x.test`;
    assert.deepEqual([empty.asked, mirror.asked], [[question], [question]]);
    assert.deepEqual(upstream.asked, []);
  });

  test("ends at its caller's signal", async () => {
    const asked = Promise.withResolvers<undefined>();
    const host = await server(() => {
      asked.resolve(undefined);
    });
    const caller = new AbortController();
    const pending = ask(client(), `${host.host}/app`, undefined, caller.signal);
    const ended = assert.rejects(pending, /stopped by its caller/);
    await asked.promise;
    caller.abort();
    await ended;
  });
});

test("BlobGrants do not grow forever", () => {
  const grants = new BlobGrants({ nowMs: () => nowMs, nowNs: () => 0n });
  for (let at = 0; at < 4097; at++) grants.add(`grant ${at}`);
  assert.ok(!grants.has("grant 0"));
  assert.ok(grants.has("grant 1"));
  assert.ok(grants.has("grant 4096"));
});
