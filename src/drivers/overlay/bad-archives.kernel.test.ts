/** Archives that cannot be unpacked: rejected with the layer and the entry in the error, and with nothing left. */
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";

import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { dir, file, OverlayFixture } from "./testing/fixture.ts";
import { sourceOf } from "./testing/layers.ts";

const fixture = new OverlayFixture();

const link = (name: string, linkName: string): BuiltEntry => ({ name, type: "1", linkName });
const xattr = (name: string, value: string): BuiltEntry => ({
  name: "c",
  pax: { [`SCHILY.xattr.${name}`]: value },
});

/** What is wrong, entries after a good one, and the error. */
const cases: readonly (readonly [string, readonly BuiltEntry[], RegExp])[] = [
  ["a name with ..", [file("a/../../x")], /"a\/\.\.\/\.\.\/x" leads out of the layer/],
  [
    "control characters in such a name",
    [file("a\n\x1b[31m/../../x")],
    /"a\\n\\u001b\[31m\/\.\.\/\.\.\/x" leads out/,
  ],
  ["a hard link with ..", [link("x", "../y")], /"\.\.\/y" leads out of the layer \(entry 2, "x"\)/],
  [
    "a hard link to a directory",
    [dir("d"), link("x", "d")],
    /"\/d" is a directory.*\(entry 3, "x"\)/,
  ],
  [
    "a hard link to a deleted file",
    [file("d/.wh.a"), link("x", "d/a")],
    /target "\/d\/a" of a hard link.*\(entry 3, "x"\)/,
  ],
  ["a file below a file", [file("a"), file("a/b")], /"\/a" is not a directory \(entry 3, "a\/b"\)/],
  [
    "a loop of links",
    [{ name: "a", type: "2", linkName: "a" }, file("a/b")],
    /entry "a\/b" cannot be made: .*ELOOP/,
  ],
  [
    "a name of 256 bytes",
    [{ name: "x", pax: { path: "e".repeat(256) } }],
    /entry "e{256}" cannot be made/,
  ],
  [
    "whiteouts of nothing",
    [file("d/.wh.")],
    /a whiteout has no file name \(entry 2, "d\/\.wh\."\)/,
  ],
  [
    "a whiteout of ..",
    [file("d/.wh...")],
    /a whiteout has no file name \(entry 2, "d\/\.wh\.\.\."\)/,
  ],
  ["the device 0:0", [{ name: "n", type: "3" }], /entry "\/n" is the device 0:0/],
  ["a broken capability", [xattr("security.capability", "x")], /entry "c" cannot be made/],
  [
    "an attribute with a long name",
    [xattr(`user.${"n".repeat(300)}`, "x")],
    /entry "c" cannot be made/,
  ],
];

describe("an archive with", () => {
  for (const [what, bad, why] of cases) {
    test(`${what} is rejected`, async () => {
      const tar = buildTar([file("good/one"), ...bad]);
      const text = new RegExp(`unpack layer "sha256:\\w{64}": read layer archive: .*${why.source}`);
      await fixture.assertRefused(sourceOf(tar, gzipSync(tar)), "invalid-argument", text);
    });
  }
});
