import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { identityOf, inheritedSocket } from "./identity.ts";

describe("identityOf()", () => {
  it("takes name and index from the name of the program", () => {
    const expected = { index: "10", name: "ulimit-adjuster" };
    assert.deepEqual(identityOf({}, {}, "/opt/nri/plugins/10-ulimit-adjuster.ts"), expected);
    assert.deepEqual(identityOf({}, {}, "10-ulimit-adjuster"), expected);
  });

  it("prefers options, and the environment to both", () => {
    const options = { name: "own", index: 5 };
    assert.deepEqual(identityOf(options, {}, "10-a.js"), { name: "own", index: "05" });
    const environment = { NRI_PLUGIN_NAME: "file", NRI_PLUGIN_IDX: "20" };
    assert.deepEqual(identityOf(options, environment, "10-a.js"), { name: "file", index: "20" });
    const empty = { NRI_PLUGIN_NAME: "", NRI_PLUGIN_IDX: "" };
    assert.deepEqual(identityOf({ index: "99" }, empty, "a.js"), { name: "a", index: "99" });
  });

  it("says what to set when the index is missing", () => {
    assert.throws(() => identityOf({ name: "a" }, {}, "/srv/a.js"), {
      kind: "invalid-argument",
      message: /no index: set the option index, NRI_PLUGIN_IDX, or name the program NN-a/,
    });
  });

  it("refuses what no runtime accepts", () => {
    for (const index of [100, -1, 1.5, "a", "001"]) {
      assert.throws(() => identityOf({ name: "a", index }, {}, ""), /from 00 to 99/, String(index));
    }
    for (const name of ["", "a b", "a/b", "ä"]) {
      assert.throws(() => identityOf({ name, index: 1 }, {}, ""), /letters, digits/, name);
    }
  });
});

describe("inheritedSocket()", () => {
  it("is the number of a descriptor", () => {
    assert.equal(inheritedSocket({ NRI_PLUGIN_SOCKET: "3" }), 3);
    assert.equal(inheritedSocket({ NRI_PLUGIN_SOCKET: "" }), undefined);
    assert.equal(inheritedSocket({}), undefined);
    assert.throws(() => inheritedSocket({ NRI_PLUGIN_SOCKET: "/run/nri.sock" }), /unset it/);
  });
});
