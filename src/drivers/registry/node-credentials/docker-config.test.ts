import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind, messageOf } from "../../../base/errors.ts";
import { authOf, helperOf, helperServer, parseDockerConfig } from "./docker-config.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const parse = (value: unknown) => parseDockerConfig(JSON.stringify(value), "/d/config.json");

describe("authOf()", () => {
  const auth = (name: string): { readonly auth: string } => ({ auth: base64(`${name}:pass-word`) });

  test("finds the longest path, then the host, then a pattern", () => {
    const config = parse({
      auths: {
        "registry.test": auth("host"),
        "registry.test/team": auth("team"),
        "registry.test/team/app": auth("app"),
        "registry.test:5000": auth("port"),
        "*.wild.test": auth("wild"),
        "*.wild.test/team": auth("wildTeam"),
        "eu.wild.test": auth("eu"),
      },
    });
    for (const [image, user] of [
      ["registry.test/other/app", "host"],
      ["registry.test/team/other", "team"],
      ["registry.test/team/app", "app"],
      ["registry.test/team/app2", "team"],
      ["registry.test/teams", "host"],
      ["registry.test:5000/team/app", "port"],
      ["us.wild.test/app", "wild"],
      ["us.wild.test/team/app", "wildTeam"],
      ["eu.wild.test/team/app", "eu"],
      ["a.b.wild.test/app", undefined],
      ["registry.test:5001/app", undefined],
      ["test/app", undefined],
    ] as const) {
      assert.equal(authOf(config, image)?.username, user, image);
    }
  });

  test("knows the spellings of a server, and Docker's own names", () => {
    const config = parse({
      auths: {
        "https://index.docker.io/v1/": auth("docker"),
        "https://Old.Test/v2/": auth("old"),
        "http://plain.test:443": auth("plain"),
      },
    });
    assert.equal(authOf(config, "docker.io/library/app")?.username, "docker");
    assert.equal(authOf(config, "old.test/app")?.username, "old");
    assert.equal(authOf(config, "plain.test/app")?.username, "plain");
  });

  test("reads each kind of credentials, and names file and key as their source", () => {
    const config = parse({
      auths: {
        a: { username: "u", password: "p-p" },
        b: { auth: base64("00000000-0000-0000-0000-000000000000:"), identitytoken: "i-i" },
        c: { registrytoken: "r-r" },
        d: {},
      },
    });
    const facts = (image: string): unknown => {
      const { kind, secret, source, isOfNode } = authOf(config, image) ?? {};
      return [kind, secret, source, isOfNode];
    };
    const file = 'of "/d/config.json" for';
    assert.deepEqual(facts("a/x"), ["password", "p-p", `password ${file} "a"`, true]);
    assert.deepEqual(facts("b/x"), ["identity-token", "i-i", `identity token ${file} "b"`, true]);
    assert.deepEqual(facts("c/x"), ["registry-token", "r-r", `registry token ${file} "c"`, true]);
    assert.equal(authOf(config, "d/x"), undefined);
  });
});

test("helpers are by host, and Docker's own registry has its old name", () => {
  const config = parse({
    credsStore: "store",
    credHelpers: { "ecr.test": "ecr-login", "https://index.docker.io/v1/": "hub" },
  });
  assert.deepEqual(helperOf(config, "ecr.test"), { name: "ecr-login", server: "ecr.test" });
  const server = "https://index.docker.io/v1/";
  assert.deepEqual(helperOf(config, "docker.io"), { name: "hub", server });
  assert.equal(helperOf(config, "other.test"), undefined);
  assert.equal(config.store, "store");
  assert.equal(helperServer("docker.io"), server);
});

describe("parseDockerConfig() refuses", () => {
  const refuses = (text: string, message: RegExp): void => {
    assert.throws(
      () => parseDockerConfig(text, "/d/config.json"),
      (error) => {
        assert.ok(isKind(error, "failed-precondition"), String(error));
        assert.match(messageOf(error), /^read "\/d\/config.json": /);
        assert.match(messageOf(error), message);
        assert.doesNotMatch(messageOf(error), /hunter/);
        return true;
      },
    );
  };

  test("what is not JSON, by its line, without a word of it", () => {
    refuses('{"auths": {\n "a": {"auth": hunter22}\n}}', /line 2 is not valid JSON/);
    refuses('{\n"auths": {},\n"x": "hunter22\n"}', /line 3 is not valid JSON/);
    refuses('{\n\n"auths": {', /line 3 is not valid JSON/);
    refuses("", /line 1 is not valid JSON/);
    refuses("[]", /must be a JSON object/);
  });

  test("values of another type, by their key", () => {
    refuses('{"auths": "hunter22"}', /key auths must be an object/);
    refuses('{"auths": {"a": "hunter22"}}', /key auths."a" must be an object/);
    refuses(
      '{"auths": {"a": {"password": ["hunter22"]}}}',
      /key auths."a".password must be a text/,
    );
    refuses('{"auths": {"a": {"auth": "aHVudGVyMjI="}}}', /key auths."a".auth must be base64/);
    refuses('{"credsStore": 5}', /key credsStore must be NAME of a program/);
    refuses('{"credHelpers": {"a": "../hunter"}}', /key credHelpers."a" must be NAME/);
    const many = Object.fromEntries(Array.from({ length: 10_001 }, (_, at) => [`h${at}`, {}]));
    refuses(JSON.stringify({ auths: many }), /has 10001 entries, more than 10000/);
  });
});
