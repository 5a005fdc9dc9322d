import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:net";
import { describe, test } from "node:test";

import { parseReference } from "../../core/image/index.ts";
import { fast, RegistryFixture, resolve } from "./testing/registry-fixture.ts";
import {
  digestOf,
  ociIndex,
  ociManifest,
  ScriptedRegistry,
  serve,
  tinyImage,
} from "./testing/scripted-registry.ts";

const fixture = new RegistryFixture();
const { client, fails, hostsToml, server } = fixture;

describe("Registry.resolve()", () => {
  test("returns manifest, config and layers of a tag with their digests", async () => {
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

  test("picks this platform's manifest of an index and keeps the index's digest", async () => {
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

  test("refuses indexes that are nested too deep", async () => {
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

  test("requests the manifest by digest where the name has one, and checks it", async () => {
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

  test("checks the size that an index gives", async () => {
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
      ["{}", ociManifest, "data-loss", /config\.digest is not a sha256 digest: nothing/],
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
        /schema 1 \(application.*prettyjws\).*push it again with a current builder/,
      ],
      [JSON.stringify({ fsLayers: [] }), ociManifest, "unimplemented", /schema 1/],
      [JSON.stringify({ manifests: [], layers: [] }), ociIndex, "data-loss", /at once/],
      [JSON.stringify({ mediaType: ociIndex, manifests: [] }), ociManifest, "data-loss", /while/],
    ];
    for (const [body, type, kind, text] of cases) {
      const host = await server((_, response) => {
        response.writeHead(200, { "content-type": type });
        response.end(body);
      });
      await fails(resolve(client(), `${host.host}/app`), kind, text);
      assert.equal(host.seen.length, 1, "none of these is retried");
    }
  });

  test("refuses unknown layer types and invalid digests", async () => {
    const layer = (change: object): object => ({
      mediaType: "application/vnd.oci.image.layer.v1.tar",
      digest: `sha256:${"a".repeat(64)}`,
      size: 1,
      ...change,
    });
    const keysOf = "org.opencontainers.image.enc.keys.";
    const encrypted = (annotations: unknown, packing = "+gzip"): object => {
      const mediaType = `application/vnd.oci.image.layer.v1.tar${packing}+encrypted`;
      return layer({ mediaType, annotations });
    };
    const cases: readonly (readonly [Readonly<Record<string, unknown>>, string, RegExp])[] = [
      [
        { layers: [layer({ mediaType: "application/vnd.in-toto+json+encrypted" })] },
        "unimplemented",
        /layers\[0\] of type/,
      ],
      [
        { layers: [encrypted({ [`${keysOf}${"x".repeat(101)}`]: "eA==" })] },
        "data-loss",
        /too many key protocols/,
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
    const annotations = { [`${keysOf}jwe`]: "a", [`${keysOf}pkcs7`]: "b", [`${keysOf}pgp`]: 1 };
    const change = { layers: [encrypted(annotations), encrypted(undefined, "+zstd"), ...kinds] };
    const locked = await server(serve(tinyImage("app", { change }).content));
    const found = await resolve(client(), `${locked.host}/app`);
    assert.deepEqual(
      found.layers.map(({ encryption }) => encryption && [...encryption.wrappedKeys]),
      [
        [
          ["jwe", "a"],
          ["pkcs7", "b"],
        ],
        [],
        undefined,
        undefined,
        undefined,
      ],
    );
  });

  test("distinguishes the failures of a registry and quotes its messages", async () => {
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

  test("retries after a failure of the server or the connection, and logs each try", async () => {
    const image = tinyImage("app");
    let count = 0;
    const host = await server((seen, response, request) => {
      count += 1;
      if (count === 1) return void request.socket.destroy();
      if (count === 2) return void response.writeHead(503).end("<html><b>down</b></html>");
      return serve(image.content)(seen, response, request);
    });
    await resolve(client(), `${host.host}/app`);
    const outcomes = fixture.log.requests.map(({ fields }) => fields["outcome"]);
    assert.equal(outcomes.length, 3);
    assert.match(String(outcomes[0]), /closed the connection/);
    assert.equal(outcomes[1], 'answered 503 "down"');
    assert.equal(outcomes[2], "ok");
    assert.equal(fixture.log.requests[2]?.fields["host"], host.host);
    const { message, fields } = fixture.log.lines.at(-1) ?? {};
    assert.equal(message, "resolved image");
    assert.equal(fields?.["host"], host.host);
    assert.equal(fields["credentials"], "none");
  });

  test("reports a registry that does not answer", async () => {
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
    const lines = fixture.log.lines.length;
    await fails(
      resolve(waiting, `${silent.host}/app`),
      "unavailable",
      /did not answer within 0\.03 s/,
    );
    assert.equal(fixture.log.lines.length, lines + 1, "a timeout is not retried");
  });

  test("gives up a connection whose TLS handshake does not complete", async () => {
    // Never answers the TLS hello.
    const mute = createServer(() => undefined);
    mute.listen(0, "127.0.0.1");
    await once(mute, "listening");
    fixture.stack.defer(() => void mute.close());
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

  test("stops at once when its caller aborts, and closes the connection", async () => {
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
