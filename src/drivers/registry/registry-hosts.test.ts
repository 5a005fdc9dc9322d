import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { RuntimeError } from "../../base/errors.ts";
import { hostsOf, type RegistryHost } from "./registry-hosts.ts";

let dir: string;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-hosts-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

function write(registry: string, text: string): void {
  mkdirSync(join(dir, registry), { recursive: true });
  writeFileSync(join(dir, registry, "hosts.toml"), text);
}

async function only(registry: string): Promise<RegistryHost> {
  const [host, ...others] = await hostsOf(registry, dir);
  assert.ok(host !== undefined);
  assert.deepEqual(others, []);
  return host;
}

async function roots(registry: string): Promise<readonly string[]> {
  return (await hostsOf(registry, dir)).map(({ root }) => root);
}

describe("hostsOf()", () => {
  test("has davit's own keys for credentials, of each host", async () => {
    write("x.test", 'credential_helper = "own"\n[host."a.test"]\ndocker_config = "a.json"\n');
    const facts = (await hostsOf("x.test", dir)).map(({ name, dockerConfig, credentialHelper }) => [
      name,
      dockerConfig,
      credentialHelper,
    ]);
    assert.deepEqual(facts, [
      ["a.test", join(dir, "x.test", "a.json"), undefined],
      ["x.test", undefined, "own"],
    ]);
    write("x.test", 'credential_helper = "../own"\n');
    await assert.rejects(
      hostsOf("x.test", dir),
      /key credential_helper must be NAME of a program "docker-credential-NAME"/,
    );
  });

  test("is the registry itself where nothing is configured", async () => {
    const host = await only("registry.test:5000");
    assert.equal(host.root, "https://registry.test:5000/v2");
    assert.equal(host.namespace, undefined);
    assert.equal(host.source, "default");
    assert.equal(host.mayBePlain, false);
    assert.equal(host.tls.skipVerify, false);
    assert.deepEqual(host.capabilities, ["pull", "resolve", "push"]);
    const docker = await only("docker.io");
    assert.equal(docker.root, "https://registry-1.docker.io/v2");
    assert.equal(docker.namespace, undefined);
  });

  test("tries plain HTTP only on this machine, and only where the port leaves it open", async () => {
    const facts = async (registry: string): Promise<unknown> => {
      const { root, mayBePlain, tls } = await only(registry);
      return [root, mayBePlain, tls.skipVerify];
    };
    assert.deepEqual(await facts("localhost:5000"), ["https://localhost:5000/v2", true, true]);
    assert.deepEqual(await facts("127.1.2.3:5000"), ["https://127.1.2.3:5000/v2", true, true]);
    assert.deepEqual(await facts("[::1]:5000"), ["https://[::1]:5000/v2", true, true]);
    assert.deepEqual(await facts("localhost:80"), ["http://localhost/v2", false, false]);
    assert.deepEqual(await facts("localhost:443"), ["https://localhost/v2", false, true]);
    assert.deepEqual(await facts("localhost.test:5000"), [
      "https://localhost.test:5000/v2",
      false,
      false,
    ]);
    assert.deepEqual(await facts("10.0.0.1:5000"), ["https://10.0.0.1:5000/v2", false, false]);
  });

  test("keeps the mirrors in the order of the file, and the server last", async () => {
    write(
      "docker.io",
      `server = "https://server.test"
       [host."https://z.test:8443/prefix/"]
       [host."http://a.test"]
       capabilities = ["PULL"]
       [host."http://a.test".header]
       X-One = "1"
       x-two = ["2", "3"]
       [host."m.test/v2/sub/v2"]
       [host."https://whole.test/api"]
       override_path = true
       dial_timeout = "1m30.5s"`,
    );
    const hosts = await hostsOf("docker.io", dir);
    assert.deepEqual(await roots("docker.io"), [
      "https://z.test:8443/prefix/v2",
      "http://a.test/v2",
      "https://m.test/v2/sub/v2",
      "https://whole.test/api",
      "https://server.test/v2",
    ]);
    assert.deepEqual(hosts[1]?.capabilities, ["pull"]);
    assert.deepEqual(hosts[1].headers, { "x-one": ["1"], "x-two": ["2", "3"] });
    assert.equal(hosts[3]?.dialTimeoutMs, 90_500);
    assert.ok(hosts.every(({ namespace }) => namespace === "docker.io"));
    assert.ok(hosts.every(({ source }) => source === join(dir, "docker.io", "hosts.toml")));
  });

  test("ends with the registry itself where the file names no server", async () => {
    write("registry.test", 'skip_verify = true\n[host."https://m.test"]');
    const [mirror, own] = await hostsOf("registry.test", dir);
    assert.deepEqual(mirror?.tls.skipVerify, false);
    assert.deepEqual(mirror.namespace, "registry.test");
    assert.equal(own?.root, "https://registry.test/v2");
    assert.equal(own.namespace, undefined);
    assert.equal(own.tls.skipVerify, true);
    write("docker.io", 'server = "https://registry-1.docker.io"');
    assert.equal((await only("docker.io")).namespace, undefined);
  });

  test("asks a server that is also one of the mirrors once, if it has the same settings", async () => {
    const mirror = '[host."https://m.test"]\ncapabilities = ["pull", "resolve"]\n';
    write("x.test", `server = "https://m.test"\n${mirror}`);
    assert.equal((await only("x.test")).root, "https://m.test/v2");
    for (const text of [
      `server = "https://m.test"\n${mirror.replace(', "resolve"', "")}`,
      `server = "https://m.test"\nskip_verify = true\n${mirror}`,
      `server = "https://m.test:8443"\n${mirror}`,
    ]) {
      write("x.test", text);
      assert.equal((await roots("x.test")).length, 2, text);
    }
  });

  test("asks an http address with settings for TLS by TLS first", async () => {
    write("x.test", 'server = "http://m.test:5000"\nskip_verify = true');
    const { root, mayBePlain } = await only("x.test");
    assert.deepEqual([root, mayBePlain], ["https://m.test:5000/v2", true]);
    write("x.test", 'server = "http://m.test"\nskip_verify = true');
    assert.deepEqual(await roots("x.test"), ["http://m.test/v2"]);
  });

  test("takes the directory of the registry, with its port either way, before _default", async () => {
    write("_default", 'server = "https://default.test"');
    assert.deepEqual(await roots("a.test:5000"), ["https://default.test/v2"]);
    assert.equal((await only("a.test:5000")).namespace, "a.test:5000");
    write("a.test:5000", 'server = "https://colon.test"');
    assert.deepEqual(await roots("a.test:5000"), ["https://colon.test/v2"]);
    write("a.test_5000_", 'server = "https://low.test"');
    assert.deepEqual(await roots("a.test:5000"), ["https://low.test/v2"]);
    mkdirSync(join(dir, "b.test"));
    assert.deepEqual(await roots("b.test"), ["https://b.test/v2"]);
  });

  test("reads certificates relative to the file", async () => {
    const pem = (what: string): string => `-----BEGIN ${what}-----\n`;
    write("x.test", 'ca = ["a.pem", "/etc/hostname"]');
    writeFileSync(join(dir, "x.test", "a.pem"), pem("CERTIFICATE"));
    await assert.rejects(only("x.test"), /hostname": it holds no certificate in PEM/);
    write("x.test", 'ca = "a.pem"\nclient = ["both.pem"]');
    writeFileSync(join(dir, "x.test", "both.pem"), pem("BOTH"));
    const { tls } = await only("x.test");
    assert.deepEqual(tls.ca, [pem("CERTIFICATE")]);
    assert.deepEqual(tls.client, [{ cert: pem("BOTH"), key: pem("BOTH") }]);
    write("x.test", 'ca = "none.pem"');
    await assert.rejects(only("x.test"), /read registry configuration ".*none\.pem": ENOENT/);
  });

  test("refuses what it does not understand, by file and key", async () => {
    const cases: readonly (readonly [string, RegExp])[] = [
      ["server = ", /hosts\.toml": line 1 is not valid TOML/],
      ["servers = 1", /key servers is unknown here, known are capabilities, ca,/],
      ["server = 5", /key server must be a text/],
      ['server = "ftp://x"', /key server must be a URL/],
      ['server = "https://u:s3cret@x"', /key server must not hold a password/],
      ['[host."https://u:s3cret@x"]', /key host."https:\/\/\*\*\*@x" must not hold a password/],
      ['server = "https://x?a=b"', /query/],
      ["host = 3", /key host must be a table/],
      ['[host]\n"https://x" = 1', /key host\."https:\/\/x" must be a table/],
      ['[host."https://x"]\nserver = "y"', /key host\."https:\/\/x"\.server is unknown/],
      ['[host."https://x"]\ncapabilities = ["fetch"]', /\.capabilities may hold .*got "fetch"/],
      ["ca = 1", /key ca must be a text or a list/],
      ['ca = ["a", 1]', /key ca must be/],
      ['client = [["a", "b", "c"]]', /key client must be/],
      ['client = [["a"]]', /key client must be/],
      ['skip_verify = "yes"', /key skip_verify must be true or false/],
      ["override_path = 1", /key override_path must be/],
      ['dial_timeout = "soon"', /key dial_timeout must be a duration/],
      ['dial_timeout = "0s"', /key dial_timeout must be a duration/],
      ["dial_timeout = 5", /key dial_timeout must be a text/],
      ["[header]\na = 1", /key header\."a" must be a text/],
      ['[header]\n"a b" = "c"', /key header\."a b" cannot be sent/],
      ['[header]\nauthorization = "s3cret\\n"', /key header\."authorization" cannot be sent/],
    ];
    for (const [text, wanted] of cases) {
      write("x.test", text);
      await assert.rejects(hostsOf("x.test", dir), (error) => {
        assert.ok(error instanceof RuntimeError);
        assert.equal(error.kind, "failed-precondition");
        assert.match(error.message, wanted);
        assert.ok(error.message.includes(join(dir, "x.test", "hosts.toml")));
        assert.doesNotMatch(error.message, /s3cret/);
        return true;
      });
    }
  });
});
