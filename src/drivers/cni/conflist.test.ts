import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseNetworkList, parseSinglePlugin, withPluginFiles } from "./conflist.ts";

const list = (more: object): string =>
  JSON.stringify({ cniVersion: "1.0.0", name: "net", plugins: [{ type: "bridge" }], ...more });

describe("parseNetworkList()", () => {
  test("reads name, version and plugins, and hides capabilities from the plugin", () => {
    const plugins = [
      { type: "bridge", bridge: "cni0", ipam: { type: "host-local" } },
      { type: "portmap", capabilities: { portMappings: true, bandwidth: false } },
    ];
    const parsed = parseNetworkList(list({ plugins }));
    assert.equal(parsed.name, "net");
    assert.equal(parsed.cniVersion, "1.0.0");
    assert.deepEqual(parsed.plugins[0]?.config, plugins[0]);
    assert.deepEqual(parsed.plugins[1], {
      type: "portmap",
      capabilities: ["portMappings"],
      config: { type: "portmap" },
    });
  });

  test("parses its own text as the same list", () => {
    const plugins = [{ type: "a", x: [1, { y: null }], capabilities: { dns: true } }];
    const parsed = parseNetworkList(list({ plugins, disableGC: "True", cniVersion: "1.1.0" }));
    const again = parseNetworkList(parsed.text);
    assert.deepEqual({ ...again, takesPluginFiles: true }, parsed);
    assert.equal(again.disableGc, true);
  });

  test("chooses the newest version that it knows", () => {
    const version = (more: object): string => parseNetworkList(list(more)).cniVersion;
    assert.equal(version({ cniVersions: ["0.4.0", "1.1.0", "9.0.0"] }), "1.1.0");
    assert.equal(version({ cniVersion: "1.0.0", cniVersions: ["0.3.1"] }), "1.0.0");
    for (const known of ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
      assert.equal(version({ cniVersion: known }), known);
    }
  });

  const refused: readonly (readonly [string, object, RegExp])[] = [
    ["an unknown version", { cniVersion: "2.0.0" }, /"cniVersion" must be one of .*got "2.0.0"/],
    ["no version", { cniVersion: undefined }, /got none/],
    ["no name", { name: undefined }, /"name" is missing/],
    ["a name that leads elsewhere", { name: "../x" }, /"name" must be letters/],
    ["an empty plugin list", { plugins: [] }, /"plugins" must be a list/],
    ["a plugin without type", { plugins: [{}] }, /plugins\[0\]: "type" is missing/],
    ["a plugin outside the directories", { plugins: [{ type: "../sh" }] }, /must be a file name/],
    ["an invalid flag", { disableGC: "maybe" }, /"disableGC" must be true or false/],
    [
      "no plugins where none may come from files",
      { plugins: undefined, loadOnlyInlinedPlugins: true },
      /"plugins" is missing/,
    ],
  ];
  for (const [what, more, message] of refused) {
    test(`refuses ${what}`, () => {
      assert.throws(() => parseNetworkList(list(more)), { kind: "invalid-argument", message });
    });
  }

  test("includes the JSON parser's message", () => {
    assert.throws(() => parseNetworkList('{"name": '), /parse JSON: Unexpected end/);
    assert.throws(() => parseNetworkList("[]"), /must be an object/);
  });
});

describe("parseSinglePlugin()", () => {
  test("makes a list of one", () => {
    const text = JSON.stringify({ cniVersion: "0.3.1", name: "one", type: "ptp", mtu: 1400 });
    const parsed = parseSinglePlugin(text);
    assert.equal(parsed.name, "one");
    assert.equal(parsed.cniVersion, "0.3.1");
    assert.deepEqual(parsed.plugins, [
      { type: "ptp", capabilities: [], config: { type: "ptp", mtu: 1400 } },
    ]);
  });

  test("names the mistake of a list in a .conf", () => {
    assert.throws(() => parseSinglePlugin(list({})), /name the file \*\.conflist/);
  });
});

describe("withPluginFiles()", () => {
  test("adds plugins at the end, in the recorded text as well", () => {
    const base = parseNetworkList(list({}));
    const more = withPluginFiles(base, ['{"type":"tuning","mtu":9000}']);
    assert.deepEqual(
      parseNetworkList(more.text).plugins.map(({ type }) => type),
      ["bridge", "tuning"],
    );
  });

  test("refuses a list that has no plugins then", () => {
    const base = parseNetworkList(list({ plugins: undefined }));
    assert.throws(() => withPluginFiles(base, []), /no plugins/);
  });
});
