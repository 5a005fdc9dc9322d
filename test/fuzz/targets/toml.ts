/** The files in TOML: davit's configuration, hosts.toml and registries.conf. */
import assert from "node:assert/strict";

import fc from "fast-check";

import { formatConfig } from "../../../src/config/format.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { keyLines } from "../../../src/config/key-lines.ts";
import { parseHostsFile } from "../../../src/drivers/registry/hosts-file.ts";
import { parseRegistriesFile } from "../../../src/drivers/registry/registries-conf/registries-file.ts";
import { attempt, type FuzzTarget, textSeeds } from "../target.ts";

const seeds = [
  `root = "/var/lib/davit"
[server]
socket = "/run/davit.sock"
[images]
max_concurrent_unpacks = 3
[runtime]
default_handler = "crun"
[runtime.handlers.crun]
path = "crun"
`,
  `server = "https://registry.example"
[host."https://mirror.example:5000/v2/x"]
capabilities = ["pull", "resolve"]
ca = ["/etc/ca.pem"]
client = [["/a", "/b"]]
skip_verify = false
override_path = true
dial_timeout = "1m30s"
docker_config = "/etc/c.json"
[host."https://mirror.example:5000/v2/x".header]
x-a = ["1", "2"]
`,
  `unqualified-search-registries = ["docker.io"]
short-name-mode = "enforcing"
[[registry]]
prefix = "registry.example/team"
location = "mirror.example:5000/x"
blocked = false
[[registry.mirror]]
location = "a.example"
pull-from-mirror = "digest-only"
[aliases]
"fedora" = "registry.example/fedora"
`,
];

const value = fc.oneof(
  fc.constantFrom('"a"', "true", "1", "[]", '["a"]', "1979-05-27", "{a=1}", '""', '"/x"', "0.5"),
  fc.string({ maxLength: 8 }).map((text) => JSON.stringify(text)),
);
const keys = [...new Set(seeds.join("\n").match(/^[\w-]+(?= =)/gm) ?? [])];
const lines = fc.array(
  fc.oneof(
    fc.tuple(fc.constantFrom(...keys), value).map(([key, text]) => `${key} = ${text}`),
    fc.constantFrom(
      "[[registry]]",
      "[aliases]",
      "[images]",
      '[host."https://a"]',
      "[runtime.handlers.x]",
      "[[registry.mirror]]",
    ),
  ),
  { maxLength: 8 },
);

export const target: FuzzTarget = {
  name: "toml",
  seeds: () => textSeeds(...seeds),
  words: [
    ...keys.map((key) => `\n${key} = `),
    "[[",
    "]]",
    '"""',
    "'''",
    "\\u",
    "{",
    "}",
    "__proto__",
    "1e9",
    "0x",
    "inf",
    "\r\n",
  ],
  structured: lines.map((all) => Buffer.from(all.join("\n"))),
  limitMs: (bytes) => 200 + bytes / 10,
  check: (input) => {
    const text = input.toString("utf8");
    // Each finding of the administrator's own file is shown.
    const config = attempt(["invalid-argument"], () => parseConfig(text, "c.toml"), 1e6);
    if (config !== undefined) {
      assert.ok(Object.isFrozen(config));
      // What `davit config` prints is the same configuration.
      assert.deepEqual(parseConfig(formatConfig(config), "again"), config);
    }
    keyLines(text);
    const hosts = attempt(["failed-precondition"], () => parseHostsFile(text, "hosts.toml"), 1e6);
    for (const { url, dialTimeoutMs } of hosts ?? []) {
      assert.ok(url === undefined || /^https?:$/.test(url.protocol));
      assert.ok(dialTimeoutMs === undefined || dialTimeoutMs > 0);
    }
    const file = attempt(["failed-precondition"], () => parseRegistriesFile(text, "r.conf"), 1e6);
    for (const { prefix, mirrors } of file?.registries ?? []) {
      assert.ok(prefix !== "" && mirrors.every(({ location }) => !location.includes("://")));
    }
  },
};
