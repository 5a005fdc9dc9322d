import assert from "node:assert/strict";
import { test } from "node:test";
import { formatConfig } from "./format.ts";
import { ConfigError, parseConfig } from "./load.ts";

const policy = (lines: string): string => `[[images.verification.policies]]\n${lines}\n`;

function errorOf(toml: string): string {
  try {
    parseConfig(toml, "davit.toml");
  } catch (error) {
    assert.ok(error instanceof ConfigError);
    return error.message;
  }
  return "";
}

test("parseConfig() reads policies, and formatConfig() writes them again", () => {
  const toml = `
[images.verification]
loaded = "accept"
${policy('images = ["r.test/*"]\nkeys = ["/k.pub"]')}
${policy(`images = ["r.test/**"]
namespaces = ["team-*"]
identities = [{ issuer = "https://i", subject_regexp = "a.*" }, { issuer = "https://i", subject = "b" }]
trusted_root = "/trusted_root.json"`)}
${policy('images = ["**"]\naction = "reject"')}`;
  const config = parseConfig(toml, "davit.toml");
  const { loaded, policies } = config.images.verification;
  assert.equal(loaded, "accept");
  assert.deepEqual(
    policies.map(({ images, action, keys, identities }) => [images, action, keys, identities]),
    [
      [["r.test/*"], "verify", ["/k.pub"], []],
      [
        ["r.test/**"],
        "verify",
        [],
        [
          { issuer: "https://i", subject: "", subjectRegexp: "a.*" },
          { issuer: "https://i", subject: "b", subjectRegexp: "" },
        ],
      ],
      [["**"], "reject", [], []],
    ],
  );
  assert.deepEqual(parseConfig(formatConfig(config), "again"), config);
});

test("parseConfig() rejects policies that cannot work, with the reason", () => {
  const identities = 'identities = [{ issuer = "i", subject = "s" }]';
  for (const [lines, reason] of [
    ['keys = ["/k"]', /policy 1 has no images/],
    ['images = ["r.test/a"]', /policy 1 \(images = \["r\.test\/a"\]\) has no keys or identities/],
    ['images = ["r.test/a"]\naction = "accept"\nkeys = ["/k"]', /needs no keys or identities/],
    [`images = ["r.test/a"]\n${identities}`, /without certificate authorities/],
    [`images = ["r.test/a"]\n${identities}\nfulcio_roots = ["/f"]`, /without a trusted time/],
    [
      `images = ["r.test/a"]\n${identities}\nfulcio_roots = ["/f"]\nrekor_keys = ["/r"]\ntransparency_log = "ignore"`,
      /without a trusted time/,
    ],
    ['images = ["r.test/a"]\nkeys = ["/k"]\ntransparency_log = "require"', /without a key of one/],
    ['images = ["r.test/a"]\nkeys = ["/k"]\npredicate_types = []', /no predicate_types/],
    ['images = ["r.test/a"]\nkeys = ["k"]', /policies\.keys" is \["k"\]: must be a list of paths/],
    ['images = ["r.test/a"]\nkey = ["/k"]', /unknown key "images\.verification\.policies\.key"/],
    [
      'images = ["r.test/a"]\nidentities = [{ issuer = "i" }]',
      /identities".*must be a list of tables/,
    ],
    [
      'images = ["r.test/a"]\nidentities = [{ issuer = "i", subject_regexp = "(" }]',
      /must be a list of tables/,
    ],
  ] as const) {
    assert.match(errorOf(policy(lines)), reason, lines);
  }
  assert.match(errorOf("[images]\nverification = 1"), /must be a table/);
  assert.match(errorOf("[images.verification]\npolicies = 1"), /must be tables/);
  assert.match(errorOf("[images.verification]\nloadd = 1"), /did you mean .*loaded/);
});

test("parseConfig() rejects patterns that match no image, with the full form", () => {
  for (const [pattern, full] of [
    ["nginx", "docker.io/library/nginx"],
    ["nginx:v1", "docker.io/library/nginx"],
    ["team/app", "docker.io/team/app"],
    ["docker.io/nginx", "docker.io/library/nginx"],
    ["docker.io/*", "docker.io/library/*"],
    ["index.docker.io/**", "docker.io/**"],
    ["registry-1.docker.io/nginx", "docker.io/library/nginx"],
    ["r.test", "r.test/**"],
    ["r.test:5000", "r.test:5000/**"],
    ["*", "**"],
  ] as const) {
    const error = errorOf(policy(`images = ["**", "${pattern}"]\naction = "reject"`));
    assert.ok(error.includes(`the pattern "${pattern}", which matches no image`), error);
    assert.ok(error.includes(`write "${full}"`), error);
  }
  for (const pattern of [
    "r.test/App",
    "r.test/app:v1",
    "r.test/app@sha256:aa",
    "r.test/",
    "r.test//a",
  ]) {
    const error = errorOf(policy(`images = ["${pattern}"]\naction = "reject"`));
    assert.match(error, /must be a path in lower case, without tag or digest/, pattern);
  }
  for (const pattern of [
    "**",
    "**/nginx",
    "*/*",
    "*.test/a",
    "Registry.test/a",
    "r.test:443/a",
    "docker.io/**",
    "docker.io/*/*",
    "localhost/a",
    "[::1]:5000/a",
  ]) {
    assert.equal(errorOf(policy(`images = ["${pattern}"]\naction = "reject"`)), "", pattern);
  }
});
