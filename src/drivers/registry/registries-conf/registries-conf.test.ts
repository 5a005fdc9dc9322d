import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";

import { isKind } from "../../../base/errors.ts";
import { formatReference, parseReference } from "../../../core/image/index.ts";
import { RegistryFixture, resolve } from "../testing/registry-fixture.ts";
import { digestOf, serve, tinyImage } from "../testing/scripted-registry.ts";
import { RegistriesConf } from "./registries-conf.ts";

const fixture = new RegistryFixture();

let dir: string;
let conf: RegistriesConf;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "davit-registries-"));
  conf = new RegistriesConf({ path: join(dir, "registries.conf"), configDir: join(dir, "own") });
});
afterEach(() => rmSync(dir, { recursive: true }));

function write(text: string, name = "registries.conf"): void {
  mkdirSync(join(dir, "registries.conf.d"), { recursive: true });
  writeFileSync(join(dir, name), text);
}

/** Root and repository of each host of an image, with what it may be asked for where that is not all. */
async function hosts(image: string): Promise<readonly string[] | undefined> {
  const found = await conf.hostsOf(parseReference(image));
  return found?.map(({ root, repository, capabilities }) => {
    const some = capabilities.length === 3 ? "" : ` ${capabilities.join("+")}`;
    return `${root} ${repository ?? ""}${some}`;
  });
}

function candidates(text: string): readonly string[] {
  return conf.candidatesOf(text).map(formatReference);
}

describe("RegistriesConf", () => {
  test("counts where it exists and davit's own directory has nothing, at each moment", async () => {
    assert.equal(await hosts("x.test/app"), undefined);
    assert.equal(conf.referenceOf("app").registry, "docker.io");
    write('[[registry]]\nprefix = "x.test"\nlocation = "y.test"\n[aliases]\napp = "z.test/app"\n');
    assert.deepEqual(await hosts("x.test/app"), ["https://y.test/v2 app"]);
    assert.equal(conf.referenceOf("app").registry, "z.test");
    mkdirSync(join(dir, "own", "x.test"), { recursive: true });
    assert.equal(await hosts("x.test/app"), undefined);
    assert.equal(conf.referenceOf("app").registry, "docker.io");
  });

  test("replaces the longest prefix that ends where a part of the name does", async () => {
    write(`
[[registry]]
prefix = "x.test"
location = "host.test"
[[registry]]
prefix = "x.test/team"
location = "team.test/inner"
[[registry]]
prefix = "*.x.test"
location = "wild.test/any"
[[registry]]
prefix = "a.x.test/app"
location = "app.test/app"
[[registry]]
location = "docker.io"
[[registry.mirror]]
location = "mirror.test/hub"
`);
    for (const [image, expected] of [
      ["x.test/app", ["https://host.test/v2 app"]],
      ["x.test/team/app", ["https://team.test/v2 inner/app"]],
      ["x.test/teams/app", ["https://host.test/v2 teams/app"]],
      ["xx.test/app", ["https://xx.test/v2 app"]],
      ["b.x.test/app", ["https://wild.test/v2 any/app"]],
      ["c.b.x.test/app", ["https://wild.test/v2 any/app"]],
      ["a.x.test/app:v1", ["https://app.test/v2 app"]],
      ["a.x.test/app2", ["https://wild.test/v2 any/app2"]],
      [
        "app",
        [
          "https://mirror.test/v2 hub/library/app pull+resolve",
          "https://registry-1.docker.io/v2 library/app",
        ],
      ],
    ] as const) {
      assert.deepEqual(await hosts(image), expected, image);
    }
  });

  test("asks mirrors for what they are for", async () => {
    write(`
[[registry]]
location = "x.test"
[[registry.mirror]]
location = "digest.test"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "tag.test"
pull-from-mirror = "tag-only"
[[registry]]
location = "y.test"
mirror-by-digest-only = true
[[registry.mirror]]
location = "digest.test"
`);
    const digest = digestOf(Buffer.from("x"));
    const own = "https://x.test/v2 app";
    const byDigest = "https://digest.test/v2 app pull";
    const byTag = "https://tag.test/v2 app pull+resolve";
    assert.deepEqual(await hosts("x.test/app:v1"), [byDigest, byTag, own]);
    assert.deepEqual(await hosts(`x.test/app@${digest}`), [byDigest, own]);
    assert.deepEqual(await hosts("y.test/app:v1"), [byDigest, "https://y.test/v2 app"]);
  });

  test("refuses blocked images, by registry, path or tag", async () => {
    write(`
[[registry]]
prefix = "x.test"
blocked = true
[[registry]]
prefix = "x.test/good"
[[registry]]
prefix = "y.test/app:v1"
blocked = true
[[registry]]
prefix = "*.bad.test"
blocked = true
`);
    for (const image of ["x.test/app", "x.test:5000/app", "y.test/app:v1", "a.bad.test/app"]) {
      await assert.rejects(hosts(image), (error) => {
        assert.ok(isKind(error, "permission-denied"), String(error));
        assert.match(String(error), /pull ".*": ".*" is blocked in ".*registries.conf"/);
        return true;
      });
    }
    assert.deepEqual(await hosts("x.test/good/app"), ["https://x.test/v2 good/app"]);
    assert.deepEqual(await hosts("y.test/app:v2"), ["https://y.test/v2 app"]);
  });

  test("is replaced by its drop-ins in the order of their names, by prefix and alias", async () => {
    write(
      'unqualified-search-registries = ["a.test", "b.test"]\n[[registry]]\nprefix = "x.test"\nblocked = true',
    );
    write('[[registry]]\nprefix = "x.test"\nlocation = "late.test"', "registries.conf.d/20.conf");
    write(
      'unqualified-search-registries = ["c.test"]\n[[registry]]\nprefix = "x.test"\nlocation = "early.test"\n[aliases]\none = "x.test/one"\ntwo = "x.test/two"',
      "registries.conf.d/10.conf",
    );
    write('[aliases]\none = ""', "registries.conf.d/30.conf");
    write("not = [ toml", "registries.conf.d/40.conf.bak");
    assert.deepEqual(await hosts("x.test/app"), ["https://late.test/v2 app"]);
    const name = (text: string): string => formatReference(conf.referenceOf(text));
    assert.equal(name("one"), "c.test/one:latest");
    assert.equal(name("two:v1"), "x.test/two:v1");
    write("blocked = true", "registries.conf.d/20.conf");
    await assert.rejects(hosts("x.test/app"), /read ".*\/registries.conf.d\/20.conf": key blocked/);
    rmSync(join(dir, "registries.conf.d", "20.conf"));
    assert.deepEqual(await hosts("x.test/app"), ["https://early.test/v2 app"]);
  });

  test("pulls short names by alias, else from the one registry, else from docker.io", () => {
    const name = (text: string): string => formatReference(conf.referenceOf(text));
    const aliases = '[aliases]\napp = "x.test/team/app"\n"a/b" = "x.test/b"\n';
    write(aliases);
    const digest = digestOf(Buffer.from("x"));
    assert.equal(name("app"), "x.test/team/app:latest");
    assert.equal(name(`app@${digest}`), `x.test/team/app@${digest}`);
    assert.equal(name("a/b:1"), "x.test/b:1");
    assert.equal(name("library/app"), "docker.io/library/app:latest");
    assert.equal(name("docker.io/app"), "docker.io/library/app:latest");
    write(`unqualified-search-registries = ["y.test:5000"]\n${aliases}`);
    assert.equal(name("other:1"), "y.test:5000/other:1");
    assert.equal(name("app:1"), "x.test/team/app:1");
    write(`unqualified-search-registries = ["y.test", "docker.io"]\n${aliases}`);
    assert.throws(
      () => name("other"),
      /find the registry of "other": ".*" has several unqualified-search-registries \(y.test, docker.io\); use/,
    );
    assert.equal(name("app"), "x.test/team/app:latest");
    assert.equal(name("z.test/other"), "z.test/other:latest");
  });

  test("finds short names on the node by alias, each registry and docker.io, where a pull refuses", () => {
    const aliases = '[aliases]\napp = "x.test/team/app"\n';
    write(`unqualified-search-registries = ["y.test", "z.test:5000"]\n${aliases}`);
    const searched = ["y.test/app:1", "z.test:5000/app:1", "docker.io/library/app:1"];
    assert.deepEqual(candidates("app:1"), ["x.test/team/app:1", ...searched]);
    assert.deepEqual(candidates("other"), [
      "y.test/other:latest",
      "z.test:5000/other:latest",
      "docker.io/library/other:latest",
    ]);
    const digest = digestOf(Buffer.from("x"));
    assert.equal(candidates(`app@${digest}`)[0], `x.test/team/app@${digest}`);
    assert.deepEqual(candidates("w.test/app:1"), ["w.test/app:1"]);
    assert.throws(() => conf.referenceOf("other"), /several unqualified-search-registries/);
    assert.throws(() => candidates("Not A Name"), { kind: "invalid-argument" });
    // Of 255 characters with docker.io, more with z.test:5000.
    const long = `a/${"b".repeat(244)}`;
    assert.deepEqual(candidates(long), [`y.test/${long}:latest`, `docker.io/${long}:latest`]);
  });

  test("finds short names at docker.io where the file cannot be used, and says why it pulls none", async () => {
    write('[aliases]\napp = "x.test/app"\n');
    write("unknown-key = true", "registries.conf.d/10.conf");
    assert.deepEqual(candidates("app:1"), ["docker.io/library/app:1"]);
    const why = /read ".*\/registries.conf.d\/10.conf": .*unknown-key/;
    assert.throws(() => conf.referenceOf("app:1"), why);
    await assert.rejects(hosts("x.test/app:1"), why);
    rmSync(join(dir, "registries.conf.d", "10.conf"));
    assert.deepEqual(candidates("app:1"), ["x.test/app:1", "docker.io/library/app:1"]);
  });

  test("makes insecure hosts of any certificate or none; others are not", async () => {
    write(
      '[[registry]]\nlocation = "x.test"\ninsecure = true\n[[registry]]\nlocation = "y.test"\n',
    );
    const facts = async (image: string): Promise<unknown> =>
      (await conf.hostsOf(parseReference(image)))?.map(({ tls, mayBePlain, source }) => [
        tls.skipVerify,
        mayBePlain,
        source,
      ]);
    const source = join(dir, "registries.conf");
    assert.deepEqual(await facts("x.test/app"), [[true, true, source]]);
    assert.deepEqual(await facts("y.test/app"), [[false, false, source]]);
  });

  test("has the certificates beside it", async () => {
    write("");
    mkdirSync(join(dir, "certs.d", "x.test:5000"), { recursive: true });
    const ca = join(dir, "certs.d", "x.test:5000", "ca.crt");
    writeFileSync(ca, "-----BEGIN CERTIFICATE-----\n");
    const [host] = (await conf.hostsOf(parseReference("x.test:5000/app"))) ?? [];
    assert.deepEqual(host?.tls.ca, ["-----BEGIN CERTIFICATE-----\n"]);
  });
});

test("a pull asks a mirror of registries.conf by its own path, then the registry", async () => {
  const image = tinyImage("hub/team/app");
  const mirror = await fixture.server(serve(image.content));
  const digest = digestOf(image.manifest);
  write(
    `[[registry]]\nprefix = "x.test"\nlocation = "127.0.0.1:1"\n[[registry.mirror]]\nlocation = "${mirror.host}/hub"\ninsecure = true\n`,
  );
  const registry = fixture.client({ registriesConf: conf });
  assert.equal((await resolve(registry, "x.test/team/app")).digest, digest);
  assert.deepEqual(mirror.asked, ["GET /v2/hub/team/app/manifests/latest"]);
  await fixture.fails(
    resolve(registry, "x.test/team/none"),
    "unavailable",
    /"127.0.0.1:\d+" answered 404 .*; "127.0.0.1:1" refused the connection/,
    /set a mirror in ".*\/registries.conf"/,
  );
});
