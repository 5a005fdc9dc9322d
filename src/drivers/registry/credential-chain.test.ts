import assert from "node:assert/strict";
import { mkdtempSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";

import type { Registry } from "./registry.ts";
import { RegistryFixture, resolve } from "./testing/registry-fixture.ts";
import { type ScriptedRegistry, serve, someAuth, tinyImage } from "./testing/scripted-registry.ts";

const fixture = new RegistryFixture();
const { server, client, hostsToml, fails } = fixture;

const basic = (user: string): string =>
  `Basic ${Buffer.from(`${user}:s3cret-${user}`).toString("base64")}`;

/** A registry of `app` for these users. */
function privateRegistry(...users: readonly string[]): Promise<ScriptedRegistry> {
  const image = tinyImage("team/app");
  return server((seen, response, request) => {
    if (users.some((user) => seen.headers.authorization === basic(user))) {
      return serve(image.content)(seen, response, request);
    }
    response.writeHead(401, { "www-authenticate": "Basic" }).end();
  });
}

/** A config.json with these users by their hosts and paths. */
function dockerConfig(users: Readonly<Record<string, string>>, name = "config.json"): string {
  const path = join(mkdtempSync(join(fixture.dir, "docker-")), name);
  rewrite(path, users);
  return path;
}

function rewrite(path: string, users: Readonly<Record<string, string>>): void {
  const auths = Object.fromEntries(
    Object.entries(users).map(([key, user]) => [
      key,
      { auth: Buffer.from(`${user}:s3cret-${user}`).toString("base64") },
    ]),
  );
  writeFileSync(path, JSON.stringify({ auths }));
}

function clientWith(path: string, more: { readonly configDir?: string } = {}): Registry {
  const none = { providersConfig: "", providersBinDir: "", env: {} };
  return client({ ...more, nodeCredentials: { dockerConfig: path, ...none } });
}

const used = (host: ScriptedRegistry): unknown => host.seen.at(-1)?.headers.authorization;
const request = someAuth({ username: "request", password: "s3cret-request" });

describe("the credentials of a pull", () => {
  test("are those of its client, else of hosts.toml, else of images.docker_config", async () => {
    const host = await privateRegistry("request", "hosts", "node");
    const path = dockerConfig({ [host.host]: "node" });
    const ofHosts = dockerConfig({ [host.host]: "hosts" });
    const configDir = hostsToml(host.host, `docker_config = "${ofHosts}"\n`);
    await resolve(clientWith(path, { configDir }), `${host.host}/team/app`, request);
    assert.equal(used(host), basic("request"));
    await resolve(clientWith(path, { configDir }), `${host.host}/team/app`);
    assert.equal(used(host), basic("hosts"));
    await resolve(clientWith(path), `${host.host}/team/app`);
    assert.equal(used(host), basic("node"));
    const line = fixture.log.lines.findLast(({ message }) => message === "resolved image");
    assert.equal(line?.fields["credentials"], `password of "${path}" for "${host.host}"`);
    assert.doesNotMatch(JSON.stringify(fixture.log.lines), /s3cret|czNjcmV0/);
  });

  test("are for a repository, where the file has its path", async () => {
    const host = await privateRegistry("team");
    const path = dockerConfig({ [host.host]: "host", [`${host.host}/team`]: "team" });
    await resolve(clientWith(path), `${host.host}/team/app`);
    assert.equal(used(host), basic("team"));
  });

  test("are of the file as it is now", async () => {
    const host = await privateRegistry("new");
    const path = dockerConfig({ [host.host]: "old" });
    const registry = clientWith(path);
    await fails(
      resolve(registry, `${host.host}/team/app`),
      "unauthenticated",
      /credentials: password of ".*config\.json" for ".*" for user "old"/,
      /check these credentials on this node/,
    );
    rewrite(path, { [host.host]: "new" });
    await resolve(registry, `${host.host}/team/app`);
  });

  test("of this node go to the host that they are for, a mirror or the registry", async () => {
    const mirror = await privateRegistry("nobody");
    const host = await privateRegistry("request");
    const text = `server = "http://${host.host}"\n[host."http://${mirror.host}"]\n`;
    const configDir = hostsToml("x.test", text);
    const path = dockerConfig({ [mirror.host]: "mirror", "x.test": "other" });
    const auth = { ...request, serverAddress: host.host };
    await resolve(clientWith(path, { configDir }), "x.test/team/app", auth);
    const sent = (of: ScriptedRegistry): readonly unknown[] => [
      ...new Set(of.seen.map(({ headers }) => headers.authorization)),
    ];
    assert.deepEqual(sent(mirror), [undefined, basic("mirror")]);
    assert.deepEqual(sent(host), [undefined, basic("request")]);
  });

  test("are not needed beside an Authorization header of hosts.toml", async () => {
    const host = await privateRegistry("header");
    const configDir = hostsToml(host.host, `[header]\nauthorization = "${basic("header")}"\n`);
    const path = dockerConfig({ [host.host]: "node" });
    await resolve(clientWith(path, { configDir }), `${host.host}/team/app`);
    assert.equal(host.seen.length, 1);
  });

  test("may be missing: the pull continues without them, and a refusal says why", async () => {
    const image = tinyImage("app");
    const open = await server(serve(image.content));
    const host = await privateRegistry("nobody");
    const path = dockerConfig({});
    writeFileSync(path, '{"auths":\n"s3cret"}');
    const registry = clientWith(path);
    await resolve(registry, `${open.host}/app`);
    await fails(
      resolve(registry, `${host.host}/team/app`),
      "unauthenticated",
      /credentials: none: read ".*config\.json": key auths must be an object/,
      /give the pod an imagePullSecret/,
    );
    const warnings = fixture.log.lines.filter(({ message }) => message.includes("cannot be used"));
    assert.equal(warnings.length, 1, "once for each version of the file");
    await fails(
      resolve(clientWith(`${path}.missing`), `${host.host}/team/app`),
      "unauthenticated",
      /none: read ".*missing": there is no such file/,
    );
  });
});
