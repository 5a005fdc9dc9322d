import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import {
  type BlobStream,
  type Descriptor,
  parseReference,
  type RegistryAuth,
} from "../../core/image/index.ts";
import { Registry, type RegistryOptions } from "./registry.ts";
import {
  type Certificates,
  digestOf,
  KeptLog,
  makeCertificates,
  ociIndex,
  ociManifest,
  type Script,
  ScriptedRegistry,
  serve,
  someAuth,
  tinyImage,
} from "./testing/scripted-registry.ts";

const anySignal = new AbortController().signal;
const amd64 = { os: "linux", architecture: "amd64", variant: "" };
const fast = { backoffMs: [1, 1], answerTimeoutMs: 5000, dialTimeoutMs: 5000 };

let dir: string;
let certificates: Certificates;
let log: KeptLog;
let stack: AsyncDisposableStack;

before(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-registry-"));
  certificates = makeCertificates(dir);
});
after(() => rmSync(dir, { recursive: true }));
beforeEach(() => {
  stack = new AsyncDisposableStack();
  log = new KeptLog();
});
afterEach(() => stack.disposeAsync());

async function server(script: Script, tls?: Certificates): Promise<ScriptedRegistry> {
  return stack.use(await ScriptedRegistry.open(script, tls));
}

function client(options: Partial<RegistryOptions> = {}): Registry {
  const timing = { ...fast, ...options.timing };
  return stack.use(
    new Registry({ configDir: join(dir, "none"), log, platform: amd64, ...options, timing }),
  );
}

/** A directory of registry configuration with one hosts.toml. */
function hostsToml(registry: string, text: string): string {
  const configDir = mkdtempSync(join(dir, "certs.d-"));
  mkdirSync(join(configDir, registry));
  writeFileSync(join(configDir, registry, "hosts.toml"), text);
  return configDir;
}

const resolve = (registry: Registry, name: string, auth?: RegistryAuth) =>
  registry.resolve(parseReference(name), auth, anySignal);

const blobOf = (bytes: Uint8Array): Descriptor => ({
  mediaType: "application/vnd.oci.image.layer.v1.tar",
  digest: digestOf(bytes),
  sizeBytes: BigInt(bytes.length),
});

function openBlob(
  registry: Registry,
  host: string,
  bytes: Uint8Array,
  options: { offset?: bigint; signal?: AbortSignal } = {},
): Promise<BlobStream> {
  return registry.openBlob(parseReference(`${host}/app`), blobOf(bytes), {
    auth: undefined,
    offset: options.offset ?? 0n,
    signal: options.signal ?? anySignal,
  });
}

async function readAll(stream: BlobStream): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream.chunks) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Checks kind and message of an error, and that neither it nor the log holds a secret. */
async function fails(promise: Promise<unknown>, kind: string, ...texts: RegExp[]): Promise<void> {
  await assert.rejects(promise, (error) => {
    assert.ok(error instanceof RuntimeError, String(error));
    assert.equal(error.kind, kind, error.message);
    for (const text of texts) assert.match(error.message, text);
    assert.doesNotMatch(error.message, /s3cret/);
    assert.doesNotMatch(JSON.stringify(log.lines), /s3cret/);
    return true;
  });
}

describe("Registry.resolve()", () => {
  test("gives manifest, config and layers of a tag, with their digests", async () => {
    const image = tinyImage("app");
    const host = await server(serve(image.content));
    const resolved = await resolve(client(), `${host.host}/app`);
    assert.equal(resolved.digest, digestOf(image.manifest));
    assert.deepEqual(resolved.manifest, {
      mediaType: ociManifest,
      digest: digestOf(image.manifest),
      sizeBytes: BigInt(image.manifest.length),
    });
    assert.equal(resolved.config.digest, digestOf(image.config));
    assert.deepEqual(
      resolved.layers.map(({ digest, sizeBytes }) => [digest, sizeBytes]),
      [[digestOf(image.layer), BigInt(image.layer.length)]],
    );
    const accept = host.seen[0]?.headers.accept ?? "";
    for (const type of [ociIndex, ociManifest, "manifest.list.v2+json", "manifest.v2+json"]) {
      assert.ok(accept.includes(type), type);
    }
  });

  test("takes this platform's manifest of an index and keeps the index's digest", async () => {
    const image = tinyImage("app");
    const other = tinyImage("app", { change: { annotations: { arch: "arm64" } } });
    const entry = (manifest: Uint8Array, platform?: object): object => ({
      mediaType: ociManifest,
      digest: digestOf(manifest),
      size: manifest.length,
      platform,
    });
    const index = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        manifests: [
          entry(other.manifest, { os: "linux", architecture: "arm64", variant: "v8" }),
          entry(other.manifest, { os: "unknown", architecture: "unknown" }),
          entry(image.manifest, { os: "linux", architecture: "amd64" }),
        ],
      }),
    );
    const content = {
      ...image.content,
      ...other.content,
      "/v2/app/manifests/latest": { bytes: index, type: ociIndex },
    };
    const host = await server(serve(content));
    const resolved = await resolve(client(), `${host.host}/app`);
    assert.equal(resolved.digest, digestOf(index));
    assert.equal(resolved.manifest.digest, digestOf(image.manifest));

    const s390x = client({ platform: { os: "linux", architecture: "s390x", variant: "" } });
    await fails(
      resolve(s390x, `${host.host}/app`),
      "not-found",
      /linux\/arm64\/v8, linux\/amd64, not .*linux\/s390x/,
    );
  });

  test("refuses indexes that lie in each other without end", async () => {
    let inner = Buffer.from(
      JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: [] }),
    );
    const content: Record<string, { bytes: Uint8Array; type: string }> = {};
    for (let depth = 0; depth < 6; depth += 1) {
      content[`/v2/app/manifests/${digestOf(inner)}`] = { bytes: inner, type: ociIndex };
      const entry = { mediaType: ociIndex, digest: digestOf(inner), size: inner.length };
      inner = Buffer.from(
        JSON.stringify({ schemaVersion: 2, mediaType: ociIndex, manifests: [entry] }),
      );
    }
    content["/v2/app/manifests/latest"] = { bytes: inner, type: ociIndex };
    const host = await server(serve(content));
    await fails(resolve(client(), `${host.host}/app`), "failed-precondition", /index of indexes/);
  });

  test("asks by digest where the name has one, and checks it", async () => {
    const image = tinyImage("app");
    const name = (host: ScriptedRegistry): string =>
      `${host.host}/app:latest@${digestOf(image.manifest)}`;
    const honest = await server(serve(image.content));
    assert.equal((await resolve(client(), name(honest))).digest, digestOf(image.manifest));
    assert.deepEqual(honest.asked, [`GET /v2/app/manifests/${digestOf(image.manifest)}`]);

    const other = tinyImage("app", { change: { annotations: { a: "b" } } });
    const liar = await server((_, response) => void response.end(other.manifest));
    await fails(
      resolve(client(), name(liar)),
      "data-loss",
      /with digest sha256:/,
      /push the image again/,
    );
  });

  test("checks the size that an index says", async () => {
    const image = tinyImage("app");
    const entry = { mediaType: ociManifest, digest: digestOf(image.manifest), size: 7 };
    const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    const content = {
      ...image.content,
      "/v2/app/manifests/latest": { bytes: index, type: ociIndex },
    };
    const host = await server(serve(content));
    await fails(resolve(client(), `${host.host}/app`), "data-loss", /manifest of \d+ bytes .* 7;/);
  });

  test("checks Docker-Content-Digest", async () => {
    const image = tinyImage("app");
    const wrong = { bytes: image.manifest, type: ociManifest, digest: digestOf(image.config) };
    const host = await server(serve({ "/v2/app/manifests/latest": wrong }));
    await fails(resolve(client(), `${host.host}/app`), "data-loss", /instead of sha256/);
  });

  test("refuses what is too large, garbage, or of another type", async () => {
    const cases: readonly (readonly [Uint8Array | string, string, string, RegExp])[] = [
      ["<html>hello</html>", "text/html", "data-loss", /not JSON/],
      ["[]", ociManifest, "data-loss", /not an object/],
      ["{}", ociManifest, "data-loss", /config\.mediaType is not a text: nothing/],
      [Buffer.alloc(5 * 1024 * 1024, " "), ociManifest, "failed-precondition", /more than 4194304/],
      [
        JSON.stringify({ schemaVersion: 1, name: "x" }),
        "application/json",
        "unimplemented",
        /schema 1/,
      ],
      [
        "{}",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "unimplemented",
        /schema 1/,
      ],
      [JSON.stringify({ manifests: [], layers: [] }), ociIndex, "data-loss", /at once/],
      [JSON.stringify({ mediaType: ociIndex, manifests: [] }), ociManifest, "data-loss", /while/],
    ];
    for (const [body, type, kind, text] of cases) {
      const host = await server((_, response) => {
        response.writeHead(200, { "content-type": type });
        response.end(body);
      });
      await fails(resolve(client(), `${host.host}/app`), kind, text);
      assert.equal(host.seen.length, 1, "none of this is worth another try");
    }
  });

  test("refuses artifacts, unknown layers and digests that are none", async () => {
    const layer = (change: object): object => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest: `sha256:${"a".repeat(64)}`,
      size: 1,
      ...change,
    });
    const cases: readonly (readonly [Readonly<Record<string, unknown>>, string, RegExp])[] = [
      [
        { config: layer({ mediaType: "application/vnd.oci.empty.v1+json" }) },
        "unimplemented",
        /config of type/,
      ],
      [
        { layers: [layer({ mediaType: "application/vnd.in-toto+json" })] },
        "unimplemented",
        /layers\[0\] of type/,
      ],
      [{ layers: [layer({ digest: "sha256:../../etc" })] }, "data-loss", /layers\[0\]\.digest/],
      [{ layers: [layer({ size: -1 })] }, "data-loss", /layers\[0\]\.size/],
      [{ layers: [layer({ size: 1e300 })] }, "data-loss", /layers\[0\]\.size/],
    ];
    for (const [change, kind, text] of cases) {
      const host = await server(serve(tinyImage("app", { change }).content));
      await fails(resolve(client(), `${host.host}/app`), kind, text);
    }
    const kinds = ["", "+gzip", "+zstd"].map((packing) =>
      layer({ mediaType: `application/vnd.oci.image.layer.v1.tar${packing}` }),
    );
    const docker = layer({ mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip" });
    const foreign = layer({
      mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
    });
    const layers = [...kinds, docker, foreign];
    const host = await server(serve(tinyImage("app", { change: { layers } }).content));
    assert.equal((await resolve(client(), `${host.host}/app`)).layers.length, 5);
  });

  test("tells the failures of a registry apart, with its own words", async () => {
    const cases: readonly (readonly [number, string, string, RegExp])[] = [
      [
        404,
        "MANIFEST_UNKNOWN",
        "not-found",
        /404 "MANIFEST_UNKNOWN: because \[31m", asks.*; check the image's name/,
      ],
      [400, "NAME_UNKNOWN", "not-found", /because/],
      [403, "DENIED", "permission-denied", /because.*credentials: none/],
      [401, "UNAUTHORIZED", "unauthenticated", /imagePullSecret/],
      [429, "TOOMANYREQUESTS", "resource-exhausted", /asks to wait 17 s/],
      [418, "X", "failed-precondition", /418/],
      [500, "UNKNOWN", "unavailable", /^RegistryUnavailable: .*500.*check this node's network/],
    ];
    for (const [status, code, kind, text] of cases) {
      const host = await server((_, response) => {
        response.writeHead(status, { "retry-after": "17" });
        response.end(JSON.stringify({ errors: [{ code, message: "because\u001b[31m" }] }));
      });
      await fails(
        resolve(client(), `${host.host}/app`),
        kind,
        text,
        new RegExp(host.host),
        /^[^\u001b]*$/,
      );
      assert.equal(host.seen.length, status === 500 ? 3 : 1);
    }
  });

  test("tries again what a server or a connection failed at, and says so in the log", async () => {
    const image = tinyImage("app");
    let count = 0;
    const host = await server((seen, response, request) => {
      count += 1;
      if (count === 1) return void request.socket.destroy();
      if (count === 2) return void response.writeHead(503).end("<html><b>down</b></html>");
      return serve(image.content)(seen, response, request);
    });
    await resolve(client(), `${host.host}/app`);
    const outcomes = log.lines.map(({ fields }) => fields["outcome"]);
    assert.equal(outcomes.length, 3);
    assert.match(String(outcomes[0]), /closed the connection/);
    assert.equal(outcomes[1], 'answered 503 "down"');
    assert.equal(outcomes[2], "ok");
    assert.equal(log.lines[2]?.fields["host"], host.host);
    assert.equal(log.lines[2].fields["credentials"], "none");
  });

  test("says that a registry does not answer", async () => {
    const closed = await ScriptedRegistry.open(() => undefined);
    const name = `${closed.host}/app`;
    await closed[Symbol.asyncDispose]();
    await fails(
      resolve(client(), name),
      "unavailable",
      /^RegistryUnavailable: .*refused the connection/,
    );

    const silent = await server(() => undefined);
    const timing = { ...fast, answerTimeoutMs: 30 };
    const waiting = client({ timing });
    const lines = log.lines.length;
    await fails(
      resolve(waiting, `${silent.host}/app`),
      "unavailable",
      /did not answer within 0\.03 s/,
    );
    assert.equal(log.lines.length, lines + 1, "a timeout is not waited for three times");
  });

  test("gives up a connection that is taken and goes no further", async () => {
    // Never answers the TLS hello.
    const mute = createServer(() => undefined);
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    stack.defer(() => void mute.close());
    const address = mute.address();
    assert.ok(typeof address === "object" && address !== null);
    const configDir = hostsToml(
      "x.test",
      `server = "https://127.0.0.1:${address.port}"\ndial_timeout = "40ms"`,
    );
    const registry = client({ configDir });
    await fails(
      resolve(registry, "x.test/app"),
      "unavailable",
      /did not take the connection within 0\.04 s/,
    );
  });

  test("ends at its caller's signal at once, and frees the connection", async () => {
    const asked = Promise.withResolvers<undefined>();
    const closed = Promise.withResolvers<undefined>();
    const host = await server((_, __, request) => {
      request.socket.on("close", () => closed.resolve(undefined));
      asked.resolve(undefined);
    });
    const controller = new AbortController();
    const pending = client().resolve(
      parseReference(`${host.host}/app`),
      undefined,
      controller.signal,
    );
    await asked.promise;
    controller.abort();
    await fails(pending, "canceled", /stopped by its caller/);
    await closed.promise;

    const late = client().resolve(
      parseReference(`${host.host}/app`),
      undefined,
      AbortSignal.timeout(20),
    );
    await fails(late, "deadline-exceeded");
    const gone = client().resolve(
      parseReference(`${host.host}/app`),
      undefined,
      AbortSignal.abort(),
    );
    await fails(gone, "canceled");
  });
});

describe("Registry.fetchConfig()", () => {
  test("gives the bytes, checked", async () => {
    const image = tinyImage("app");
    const host = await server(serve(image.content));
    const registry = client();
    const reference = parseReference(`${host.host}/app`);
    const { config } = await registry.resolve(reference, undefined, anySignal);
    const bytes = await registry.fetchConfig(reference, config, undefined, anySignal);
    assert.deepEqual(Buffer.from(bytes), Buffer.from(image.config));
    assert.equal(await host.connections(), 1, "one connection serves all requests");

    const liar = await server((_, response) => void response.end("something else"));
    const other = parseReference(`${liar.host}/app`);
    await fails(
      registry.fetchConfig(other, config, undefined, anySignal),
      "data-loss",
      /config with digest/,
    );
    const longer = { ...config, sizeBytes: config.sizeBytes + 1n };
    await fails(
      registry.fetchConfig(reference, longer, undefined, anySignal),
      "data-loss",
      /config of \d+ bytes instead of/,
    );
    const huge = { ...config, sizeBytes: 100_000_000n };
    await fails(
      registry.fetchConfig(reference, huge, undefined, anySignal),
      "failed-precondition",
      /100000000/,
    );
  });
});

describe("Registry.openBlob()", () => {
  const bytes = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 7) % 251));

  /** Serves `bytes` with Range. */
  const ranged: Script = ({ headers }, response) => {
    const begin = Number(/^bytes=(\d+)-$/.exec(headers.range ?? "")?.[1] ?? 0);
    const rest = bytes.subarray(begin);
    if (begin === 0)
      return void response.writeHead(200, { "content-length": rest.length }).end(rest);
    const range = `bytes ${begin}-${bytes.length - 1}/${bytes.length}`;
    response.writeHead(206, { "content-length": rest.length, "content-range": range }).end(rest);
  };

  test("streams the whole and any rest of it", async () => {
    const host = await server(ranged);
    const registry = client();
    const whole = await openBlob(registry, host.host, bytes);
    assert.equal(whole.sizeBytes, 300_000n);
    assert.deepEqual(await readAll(whole), bytes);
    const rest = await openBlob(registry, host.host, bytes, { offset: 299_000n });
    assert.equal(rest.sizeBytes, 300_000n);
    assert.deepEqual(await readAll(rest), bytes.subarray(299_000));
    assert.deepEqual(
      await readAll(await openBlob(registry, host.host, bytes, { offset: 300_000n })),
      Buffer.alloc(0),
    );
    assert.equal(host.seen.length, 2);
    await fails(openBlob(registry, host.host, bytes, { offset: 300_001n }), "out-of-range");
  });

  test("reads from the beginning where a server cannot resume, and says so", async () => {
    const host = await server((_, response) => void response.end(bytes));
    const rest = await openBlob(client(), host.host, bytes, { offset: 123_456n });
    assert.deepEqual(await readAll(rest), bytes.subarray(123_456));
    assert.ok(log.lines.some(({ message }) => message.startsWith("registry cannot resume")));
  });

  test("refuses a length or a range other than what was asked for", async () => {
    const short = await server(
      (_, response) => void response.writeHead(200, { "content-length": 3 }).end("abc"),
    );
    await fails(
      openBlob(client(), short.host, bytes),
      "data-loss",
      /has 3 bytes for a blob of 300000 bytes/,
    );
    const ranges = ["bytes 0-299999/300000", "bytes 10-299999/300001", "", "bytes x"];
    for (const range of ranges) {
      const headers = range === "" ? {} : { "content-range": range };
      const host = await server((_, response) => void response.writeHead(206, headers).end("abc"));
      await fails(
        openBlob(client(), host.host, bytes, { offset: 10n }),
        "data-loss",
        /for bytes from 10 of 300000/,
      );
    }
    // Without a length, the surplus shows only while it is read.
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

  test("takes a download up where it broke off", async () => {
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

  test("gives up a download that breaks off again and again without gaining much", async () => {
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

  test("does not wait for a server that stops or trickles", async () => {
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

  test("takes the time that its reader needs for no fault of the server", async () => {
    const host = await server(ranged);
    const timing = { ...fast, idleTimeoutMs: 500 };
    const stream = await openBlob(client({ timing }), host.host, bytes);
    let size = 0;
    for await (const chunk of stream.chunks) {
      if (size === 0) await new Promise((resolve) => setTimeout(resolve, 700));
      size += chunk.length;
    }
    assert.equal(size, bytes.length);
    assert.equal(host.seen.length, 1);
  });

  test("reads no faster than it is read", async () => {
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
    const options = { auth: undefined, offset: 0n, signal: anySignal };
    const stream = await client().openBlob(parseReference(`${host.host}/app`), blob, options);
    await blocked.promise;
    assert.ok(sent < total / 2, `the server could send ${sent} bytes that nobody has read`);
    await stream[Symbol.asyncDispose]();
  });

  test("frees the connection when it is aborted or left", async () => {
    const closed: Promise<unknown>[] = [];
    const host = await server((_, response, request) => {
      closed.push(once(request.socket, "close"));
      response.writeHead(200, { "content-length": bytes.length });
      response.write(bytes.subarray(0, 1000));
    });
    const controller = new AbortController();
    const aborted = await openBlob(client(), host.host, bytes, { signal: controller.signal });
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
});

describe("Registry and redirects", () => {
  test("keep the authorization to the host that it is for", async () => {
    const image = tinyImage("app");
    const store = await server((_, response) => void response.end(image.layer));
    const host = await server(({ url, headers }, response) => {
      if (headers.authorization === undefined) {
        return void response.writeHead(401, { "www-authenticate": "Basic" }).end();
      }
      const location = url.endsWith("?again") ? `http://${store.host}/blob?sig=1` : `${url}?again`;
      response.writeHead(307, { location }).end();
    });
    const configDir = hostsToml(
      "x.test",
      `server = "http://${host.host}"\n[header]\nx-own = "s3cret"`,
    );
    const stream = await client({ configDir }).openBlob(
      parseReference("x.test/app"),
      blobOf(image.layer),
      {
        auth: someAuth({ username: "u", password: "s3cret" }),
        offset: 10n,
        signal: anySignal,
      },
    );
    assert.deepEqual(await readAll(stream), Buffer.from(image.layer).subarray(10));
    const last = host.seen.at(-1);
    assert.match(last?.headers.authorization ?? "", /^Basic /);
    assert.equal(last?.headers["x-own"], "s3cret");
    assert.equal(store.seen[0]?.headers.authorization, undefined);
    assert.equal(store.seen[0]?.headers["x-own"], undefined);
    assert.equal(store.seen[0]?.headers.range, "bytes=10-");
    assert.doesNotMatch(JSON.stringify(log.lines), /sig=1|s3cret/);
  });

  test("end", async () => {
    const host = await server(
      ({ url }, response) => void response.writeHead(302, { location: url }).end(),
    );
    await fails(
      resolve(client(), `${host.host}/app`),
      "unavailable",
      /redirects more than 5 times/,
    );
    const odd = await server(
      (_, response) => void response.writeHead(302, { location: "file:///etc" }).end(),
    );
    await fails(resolve(client(), `${odd.host}/app`), "unavailable", /no HTTP address/);
  });
});

describe("Registry and the hosts of hosts.toml", () => {
  test("asks the mirrors in their order, then the server, each for what it may", async () => {
    const image = tinyImage("team/app");
    const none = await server(serve({}));
    const pullOnly = await server(serve(image.content));
    const upstream = await server(serve(image.content));
    const configDir = hostsToml(
      "x.test",
      `server = "http://${upstream.host}"
       [host."http://${none.host}"]
       [host."http://${pullOnly.host}"]
       capabilities = ["pull"]`,
    );
    const registry = client({ configDir });
    const reference = parseReference("x.test/team/app");
    const { config } = await registry.resolve(reference, undefined, anySignal);
    await registry.fetchConfig(reference, config, undefined, anySignal);
    const manifest = "GET /v2/team/app/manifests/latest?ns=x.test";
    const blob = `GET /v2/team/app/blobs/${config.digest}?ns=x.test`;
    assert.deepEqual(none.asked, [manifest, blob]);
    assert.deepEqual(pullOnly.asked, [blob]);
    assert.deepEqual(upstream.asked, [manifest]);
    const hosts = log.lines.map(({ fields }) => fields["host"]);
    assert.deepEqual(hosts, [none.host, upstream.host, none.host, pullOnly.host]);
  });

  test("goes on after a mirror that lies, and names all hosts in the error", async () => {
    const image = tinyImage("app");
    const liar = await server((_, response) => void response.end('{"schemaVersion": 2}'));
    const broken = await server((_, response) => void response.writeHead(502).end());
    const upstream = await server(serve(image.content));
    const toml = (server: string): string =>
      `server = "http://${server}"\n[host."http://${liar.host}"]\n[host."http://${broken.host}"]`;
    const registry = client({ configDir: hostsToml("x.test", toml(upstream.host)) });
    assert.equal((await resolve(registry, "x.test/app")).digest, digestOf(image.manifest));

    const empty = await server(serve({}));
    const other = client({ configDir: hostsToml("x.test", toml(empty.host)) });
    const all = [liar, broken, empty].map(({ host }) => new RegExp(host));
    await fails(resolve(other, "x.test/app"), "not-found", ...all);
  });

  test("asks a host that did not answer after the others for a while", async () => {
    const image = tinyImage("app");
    const down = await server((_, response) => void response.writeHead(503).end());
    const upstream = await server(serve(image.content));
    const configDir = hostsToml(
      "x.test",
      `server = "http://${upstream.host}"\n[host."http://${down.host}"]`,
    );
    let nowMs = 1_000_000;
    const clock = { nowMs: () => nowMs, nowNs: () => 0n };
    const registry = client({ configDir, clock });
    await resolve(registry, "x.test/app");
    assert.equal(down.seen.length, 3);
    await resolve(registry, "x.test/app");
    assert.equal(down.seen.length, 3);
    nowMs += 31_000;
    await resolve(registry, "x.test/app");
    assert.equal(down.seen.length, 6);
  });

  test("takes up a broken download at the next host", async () => {
    const layer = Buffer.alloc(1000, "x");
    const mirror = await server((_, response, request) => {
      response.writeHead(200, { "content-length": 1000 });
      response.write("xxx", () => request.socket.destroy());
    });
    const upstream = await server((_, response) => {
      response.writeHead(206, { "content-range": "bytes 3-999/1000" }).end(layer.subarray(3));
    });
    const configDir = hostsToml(
      "x.test",
      `server = "http://${upstream.host}"\n[host."http://${mirror.host}"]`,
    );
    const stream = await openBlob(client({ configDir }), "x.test", layer);
    assert.deepEqual(await readAll(stream), layer);
    assert.equal(mirror.seen.length, 1);
    assert.equal(upstream.seen[0]?.headers.range, "bytes=3-");
  });

  test("says where no host may do what is wanted", async () => {
    const configDir = hostsToml("x.test", 'server = "http://127.0.0.1:1"\ncapabilities = ["pull"]');
    await fails(
      resolve(client({ configDir }), "x.test/app"),
      "failed-precondition",
      /"resolve" in ".*hosts\.toml"/,
    );
  });

  test("trusts a CA of the file, shows its client certificate, and nothing else", async () => {
    const image = tinyImage("app");
    const peers: boolean[] = [];
    const host = await server((seen, response, request) => {
      peers.push(
        Object.hasOwn(request.socket, "authorized") &&
          Reflect.get(request.socket, "authorized") === true,
      );
      return serve(image.content)(seen, response, request);
    }, certificates);
    const url = `https://${host.host}`;
    const untrusting = client({ configDir: hostsToml("x.test", `server = "${url}"`) });
    await fails(
      resolve(untrusting, "x.test/app"),
      "unavailable",
      /certificate that is not trusted.*"ca" in hosts\.toml/,
    );
    assert.equal(host.seen.length, 0);

    const skipping = client({
      configDir: hostsToml("x.test", `server = "${url}"\nskip_verify = true`),
    });
    await resolve(skipping, "x.test/app");

    const configDir = hostsToml(
      "x.test",
      `server = "${url}"\nca = "ca.pem"\nclient = [["c.pem", "c.key"]]`,
    );
    writeFileSync(join(configDir, "x.test", "ca.pem"), certificates.ca);
    writeFileSync(join(configDir, "x.test", "c.pem"), certificates.clientCert);
    writeFileSync(join(configDir, "x.test", "c.key"), certificates.clientKey);
    await resolve(client({ configDir }), "x.test/app");
    assert.deepEqual(peers, [false, true]);
  });

  test("sends no credentials to a token service without encryption", async () => {
    const tokens = await server((_, response) => void response.end('{"token": "t"}'));
    const host = await server((_, response) => {
      const challenge = `Bearer realm="http://${tokens.host}/"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
    }, certificates);
    const configDir = hostsToml("x.test", `server = "https://${host.host}"\nca = "ca.pem"`);
    writeFileSync(join(configDir, "x.test", "ca.pem"), certificates.ca);
    const auth = someAuth({ username: "u", password: "s3cret" });
    const registry = client({ configDir });
    await fails(
      resolve(registry, "x.test/app", auth),
      "unauthenticated",
      /is not encrypted and wants/,
    );
    assert.equal(tokens.seen.length, 0);
  });

  test("reads certificates in docker's layout", async () => {
    const image = tinyImage("app");
    const host = await server(serve(image.content), certificates);
    // By its name, the server is on this machine and any certificate would do.
    const registry = `127-0-0-1.test:${host.port}`;
    const configDir = mkdtempSync(join(dir, "certs.d-"));
    const directory = join(configDir, `127-0-0-1.test_${host.port}_`);
    mkdirSync(directory);
    writeFileSync(join(directory, "own.crt"), certificates.ca);
    writeFileSync(join(directory, "me.cert"), certificates.clientCert);
    writeFileSync(join(directory, "me.key"), certificates.clientKey);
    const [found] = await client({ configDir }).hostsFor(parseReference(`${registry}/app`));
    assert.equal(found?.root, `https://${registry}/v2`);
    assert.deepEqual(found.tls.ca, [certificates.ca]);
    assert.deepEqual(found.tls.client, [
      { cert: certificates.clientCert, key: certificates.clientKey },
    ]);
  });

  test("asks a registry on this machine by TLS with any certificate, and by plain HTTP", async () => {
    const image = tinyImage("app");
    const secure = await server(serve(image.content), certificates);
    await resolve(client(), `localhost:${secure.port}/app`);
    const plain = await server(serve(image.content));
    const registry = client();
    await resolve(registry, `localhost:${plain.port}/app`);
    await resolve(registry, `localhost:${plain.port}/app`);
    assert.equal(plain.seen.length, 2);
  });
});

describe("Registry behind a proxy", () => {
  test("goes through it, but not to this machine, and hides its password", async () => {
    const image = tinyImage("app");
    const host = await server(serve(image.content), certificates);
    const asked: string[] = [];
    const proxy = createHttpServer();
    let isOpen = true;
    proxy.on("connect", (request: IncomingMessage, socket: Socket) => {
      asked.push(`${request.url ?? ""} ${request.headers["proxy-authorization"] ?? ""}`);
      if (!isOpen) return void socket.end("HTTP/1.1 502 Bad Gateway\r\n\r\n");
      const behind = connect(host.port, "127.0.0.1", () => {
        socket.write("HTTP/1.1 200 OK\r\n\r\n");
        socket.pipe(behind).pipe(socket);
      });
      behind.on("error", () => socket.destroy());
      socket.on("error", () => behind.destroy());
      stack.defer(() => void socket.destroy());
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    stack.defer(() => void proxy.close());
    const address = proxy.address();
    assert.ok(typeof address === "object" && address !== null);
    const proxyEnv = { HTTPS_PROXY: `http://u:s3cret@127.0.0.1:${address.port}` };
    const configDir = hostsToml("registry.test", 'ca = "ca.pem"');
    writeFileSync(join(configDir, "registry.test", "ca.pem"), certificates.ca);
    const registry = client({ configDir, proxyEnv });
    await resolve(registry, "registry.test/app");
    await resolve(registry, `${host.host}/app`);
    assert.deepEqual(asked, [
      `registry.test:443 Basic ${Buffer.from("u:s3cret").toString("base64")}`,
    ]);

    isOpen = false;
    const other = client({ configDir, proxyEnv });
    await fails(resolve(other, "registry.test/app"), "unavailable", /ERR_PROXY_TUNNEL/);
  });
});
