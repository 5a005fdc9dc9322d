import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind, messageOf } from "../../../base/errors.ts";
import { parseRegistriesFile } from "./registries-file.ts";

const parse = (text: string) => parseRegistriesFile(text, "/r.conf");

describe("parseRegistriesFile()", () => {
  test("reads registries, mirrors, aliases and the registries of short names", () => {
    const { searched, registries, aliases } = parse(
      `
unqualified-search-registries = ["docker.io", "localhost:5000"]
short-name-mode = "enforcing"
credential-helpers = ["containers-auth.json"]
[[registry]]
prefix = "x.test/team/"
location = "inner.test:5000/x"
insecure = true
[[registry.mirror]]
location = "mirror.test"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "other.test/y"
insecure = true
[[registry]]
location = "*.test"
prefix = "*.wild.test"
[[registry]]
prefix = "bad.test/app:v1"
blocked = true
[aliases]
app = "x.test/team/app"
"team/app" = ""
`.replace('location = "*.test"', ""),
    );
    assert.deepEqual(searched, ["docker.io", "localhost:5000"]);
    const common = { isBlocked: false, isInsecure: false, file: "/r.conf", mirrors: [] };
    assert.deepEqual(registries, [
      {
        ...common,
        prefix: "x.test/team",
        location: "inner.test:5000/x",
        isInsecure: true,
        mirrors: [
          { location: "mirror.test", isInsecure: false, for: "tag-only" },
          { location: "other.test/y", isInsecure: true, for: "all" },
        ],
      },
      { ...common, prefix: "*.wild.test", location: undefined },
      { ...common, prefix: "bad.test/app:v1", location: undefined, isBlocked: true },
    ]);
    assert.deepEqual(
      [...aliases],
      [
        ["app", "x.test/team/app"],
        ["team/app", ""],
      ],
    );
    assert.equal(parse("").searched, undefined);
  });

  test("refuses what it does not know, with line or key", () => {
    for (const [text, message] of [
      ["a = [", /line 1 is not valid TOML/],
      ["[registries.search]\nregistries = []", /key registries is of version 1 of this format/],
      ["blocked = true", /key blocked is unknown here/],
      ["[registry]\nprefix = 'a.test'", /key registry must be written as \[\[registry\]\]/],
      ["[[registry]]\nblockd = true", /key registry\[0\].blockd is unknown here/],
      ["[[registry]]\nblocked = true", /key registry\[0\] needs a prefix or a location/],
      ["[[registry]]\nprefix = 'https://a.test'", /registry\[0\].prefix must be HOST/],
      ["[[registry]]\nprefix = 'a.*.test'", /registry\[0\].prefix must be HOST/],
      ["[[registry]]\nlocation = 'host'", /registry\[0\].location must be HOST/],
      ["[[registry]]\nlocation = 'a.test/../b'", /registry\[0\].location must be HOST/],
      ["[[registry]]\nlocation = 5", /registry\[0\].location must be a text/],
      ["[[registry]]\nprefix = 'a.test'\nblocked = 'no'", /blocked must be true or false/],
      [
        "[[registry]]\nprefix = 'a.test'\nmirror = 5",
        /mirror must be written as \[\[registry.mirr/,
      ],
      ["[[registry]]\nprefix = 'a.test'\n[[registry.mirror]]", /mirror\[0\].location is missing/],
      [
        "[[registry]]\nprefix = 'a.test'\n[[registry.mirror]]\nlocation = 'b.test'\npull-from-mirror = 'x'",
        /mirror\[0\].pull-from-mirror must be one of "all"/,
      ],
      [
        "[[registry]]\nprefix = 'a.test'\nmirror-by-digest-only = true\n[[registry.mirror]]\nlocation = 'b.test'\npull-from-mirror = 'all'",
        /contradicts mirror-by-digest-only/,
      ],
      [
        "[[registry]]\nprefix = 'a.test/app:v1'\nlocation = 'b.test'",
        /prefix with a tag or a digest cannot have a location/,
      ],
      ["[[registry]]\nprefix = 'a.test'\n[[registry]]\nlocation = 'a.test'", /is there twice/],
      ["unqualified-search-registries = 'a.test'", /must be a list of hosts/],
      ["unqualified-search-registries = ['a.test/b']", /registries\[0\] must be a host/],
      ["short-name-mode = 'any'", /short-name-mode must be one of/],
      ["[aliases]\napp = 'app'", /aliases."app" must be a name with a host/],
      ["[aliases]\napp = 'x.test/app:v1'", /aliases."app" must be a name with a host/],
      ["[aliases]\n'a.test/app:v1' = ''", /must be a name without host and tag/],
    ] as const) {
      assert.throws(
        () => parse(text),
        (error) => {
          assert.ok(isKind(error, "failed-precondition"), String(error));
          assert.match(messageOf(error), /^read "\/r.conf": /);
          assert.match(messageOf(error), message, text);
          return true;
        },
      );
    }
    const many = Array.from({ length: 10_001 }, (_, at) => `[[registry]]\nprefix = 'h${at}.test'`);
    assert.throws(() => parse(many.join("\n")), /has 10001 entries, more than 10000/);
  });
});
