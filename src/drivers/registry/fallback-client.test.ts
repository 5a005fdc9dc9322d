import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer, type IncomingMessage } from "node:http";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { describe, test } from "node:test";

import { until } from "../../linux/testing/leaks.ts";
import { parseReference } from "../../core/image/index.ts";
import {
  anySignal,
  blobOf,
  openBlob,
  readAll,
  RegistryFixture,
  resolve,
} from "./testing/registry-fixture.ts";
import { digestOf, fetcherOf, serve, someAuth, tinyImage } from "./testing/scripted-registry.ts";

const fixture = new RegistryFixture();
const { client, fails, hostsToml, server } = fixture;

describe("Registry and redirects", () => {
  test("send the authorization only to the host that it is for", async () => {
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
    const auth = someAuth({ username: "u", password: "s3cret" });
    const fetcher = fetcherOf(client({ configDir }), "x.test/app", auth);
    const stream = await fetcher.blob(blobOf(image.layer), anySignal);
    assert.deepEqual(await readAll(stream), Buffer.from(image.layer));
    const last = host.seen.at(-1);
    assert.match(last?.headers.authorization ?? "", /^Basic /);
    assert.equal(last?.headers["x-own"], "s3cret");
    assert.equal(store.seen[0]?.headers.authorization, undefined);
    assert.equal(store.seen[0]?.headers["x-own"], undefined);
    assert.doesNotMatch(JSON.stringify(fixture.log.lines), /sig=1|s3cret/);
  });

  test("are followed 5 times at most", async () => {
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
    await fails(resolve(client(), `${odd.host}/app`), "unavailable", /not an HTTP address/);
  });
});

describe("Registry and the hosts of hosts.toml", () => {
  test("asks a mirror last after a request that ended while it hung", async () => {
    const image = tinyImage("team/app");
    const hung = await server(() => undefined);
    const upstream = await server(serve(image.content));
    const configDir = hostsToml(
      "x.test",
      `server = "http://${upstream.host}"
       [host."http://${hung.host}"]`,
    );
    const registry = client({ configDir });
    const reference = parseReference("x.test/team/app");
    for (const name of ["AbortError", "TimeoutError"]) {
      const end = new AbortController();
      const asked = registry.resolve(reference, undefined, end.signal);
      asked.catch(() => undefined);
      const before = hung.asked.length;
      await until("it was asked", () => hung.asked.length > before);
      end.abort(new DOMException("it ends", name));
      await assert.rejects(asked, /it ends/);
      assert.equal(upstream.asked.length, 0);
    }
    await registry.resolve(reference, undefined, anySignal);
    assert.equal(hung.asked.length, 2);
    assert.equal(upstream.asked.length, 1);
  });

  test("asks the mirrors in order, then the server, each for what its capabilities allow", async () => {
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
    const fetcher = await registry.resolve(reference, undefined, anySignal);
    await fetcher.config(anySignal);
    const manifest = "GET /v2/team/app/manifests/latest?ns=x.test";
    const blob = `GET /v2/team/app/blobs/${fetcher.image.config.digest}?ns=x.test`;
    assert.deepEqual(none.asked, [manifest, blob]);
    assert.deepEqual(pullOnly.asked, [blob]);
    assert.deepEqual(upstream.asked, [manifest]);
    const hosts = fixture.log.requests.map(({ fields }) => fields["host"]);
    assert.deepEqual(hosts, [none.host, upstream.host, none.host, pullOnly.host]);
  });

  test("tries the next host after a mirror that sends wrong content, and names all hosts in the error", async () => {
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

  test("resumes a broken download at the next host", async () => {
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

  test("reports that no host has the capability", async () => {
    const configDir = hostsToml("x.test", 'server = "http://127.0.0.1:1"\ncapabilities = ["pull"]');
    await fails(
      resolve(client({ configDir }), "x.test/app"),
      "failed-precondition",
      /"resolve" in ".*hosts\.toml"/,
    );
  });

  test("trusts the file's CA only, and sends its client certificate", async () => {
    const image = tinyImage("app");
    const peers: boolean[] = [];
    const host = await server((seen, response, request) => {
      peers.push(
        Object.hasOwn(request.socket, "authorized") &&
          Reflect.get(request.socket, "authorized") === true,
      );
      return serve(image.content)(seen, response, request);
    }, fixture.certificates);
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
    writeFileSync(join(configDir, "x.test", "ca.pem"), fixture.certificates.ca);
    writeFileSync(join(configDir, "x.test", "c.pem"), fixture.certificates.clientCert);
    writeFileSync(join(configDir, "x.test", "c.key"), fixture.certificates.clientKey);
    await resolve(client({ configDir }), "x.test/app");
    assert.deepEqual(peers, [false, true]);
  });

  test("sends no credentials to a token service without encryption", async () => {
    const tokens = await server((_, response) => void response.end('{"token": "t"}'));
    const host = await server((_, response) => {
      const challenge = `Bearer realm="http://${tokens.host}/"`;
      response.writeHead(401, { "www-authenticate": challenge }).end();
    }, fixture.certificates);
    const configDir = hostsToml("x.test", `server = "https://${host.host}"\nca = "ca.pem"`);
    writeFileSync(join(configDir, "x.test", "ca.pem"), fixture.certificates.ca);
    const auth = someAuth({ username: "u", password: "s3cret" });
    const registry = client({ configDir });
    await fails(
      resolve(registry, "x.test/app", auth),
      "unauthenticated",
      /is not encrypted and asks for/,
    );
    assert.equal(tokens.seen.length, 0);
  });

  test("reads certificates in docker's layout", async () => {
    const image = tinyImage("app");
    const host = await server(serve(image.content), fixture.certificates);
    // By its name the server is on this machine, where any certificate is accepted.
    const registry = `127-0-0-1.test:${host.port}`;
    const configDir = mkdtempSync(join(fixture.dir, "certs.d-"));
    const directory = join(configDir, `127-0-0-1.test_${host.port}_`);
    mkdirSync(directory);
    writeFileSync(join(directory, "own.crt"), fixture.certificates.ca);
    writeFileSync(join(directory, "me.cert"), fixture.certificates.clientCert);
    writeFileSync(join(directory, "me.key"), fixture.certificates.clientKey);
    const [found] = await client({ configDir }).hostsFor(parseReference(`${registry}/app`));
    assert.equal(found?.root, `https://${registry}/v2`);
    assert.deepEqual(found.tls.ca, [fixture.certificates.ca]);
    assert.deepEqual(found.tls.client, [
      { cert: fixture.certificates.clientCert, key: fixture.certificates.clientKey },
    ]);
  });

  test("asks a registry on this machine by TLS with any certificate, and by plain HTTP", async () => {
    const image = tinyImage("app");
    const secure = await server(serve(image.content), fixture.certificates);
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
    const host = await server(serve(image.content), fixture.certificates);
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
      fixture.stack.defer(() => void socket.destroy());
    });
    proxy.listen(0, "127.0.0.1");
    await once(proxy, "listening");
    fixture.stack.defer(() => void proxy.close());
    const address = proxy.address();
    assert.ok(typeof address === "object" && address !== null);
    const proxyEnv = { HTTPS_PROXY: `http://u:s3cret@127.0.0.1:${address.port}` };
    const configDir = hostsToml("registry.test", 'ca = "ca.pem"');
    writeFileSync(join(configDir, "registry.test", "ca.pem"), fixture.certificates.ca);
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
