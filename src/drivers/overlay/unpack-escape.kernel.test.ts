import assert from "node:assert/strict";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterEach, before, describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { type BuiltEntry, buildTar } from "../../unpack/testing/tar-builder.ts";
import { never, OverlayFixture } from "./testing/fixture.ts";
import { describeTree, sourceOf } from "./testing/layers.ts";

const fixture = new OverlayFixture();
const { directory } = fixture;
const victim = join(directory, "victim");

describe("archives that try to escape", () => {
  const inside = join(victim, "file");
  before(() => {
    mkdirSync(victim);
    writeFileSync(inside, "untouched");
  });
  afterEach(() => {
    assert.deepEqual(readdirSync(victim), ["file"]);
    assert.equal(readFileSync(inside, "utf8"), "untouched");
    assert.equal(statSync(inside).nlink, 1);
    assert.deepEqual(
      readdirSync(directory).filter((name) => name.includes("evil")),
      [],
    );
  });

  for (const [what, entries] of [
    ["a name with ..", [{ name: "../../../../evil" }]],
    ["a name that enters and leaves the layer", [{ name: "a/../../../../evil" }]],
    ["a whiteout with ..", [{ name: "../../../.wh.evil" }]],
    ["an opaque mark with ..", [{ name: "../.wh..wh..opq" }]],
    ["a directory with ..", [{ name: "..", type: "5", mode: 0o777 }]],
    [
      "a hard link with ..",
      [{ name: "evil", type: "1", linkName: `../../../../..${victim}/file` }],
    ],
    [
      "a loop of symlinks",
      [
        { name: "a", type: "2", linkName: "b" },
        { name: "b", type: "2", linkName: "a" },
        { name: "a/evil", data: "x" },
      ],
    ],
    [
      "the root replaced by a symlink",
      [{ name: "./", type: "2", linkName: victim }, { name: "evil" }],
    ],
    ["whiteouts of nothing", [{ name: ".wh..." }]],
    ["a whiteout without a name", [{ name: "a/.wh." }]],
    ["a name longer than the kernel accepts", [{ name: "x", pax: { path: "e".repeat(256) } }]],
    ["a file below a file", [{ name: "a" }, { name: "a/evil" }]],
    [
      "an attribute that the kernel refuses",
      [{ name: "a", pax: { "SCHILY.xattr.security.capability": "x" } }],
    ],
  ] as const satisfies readonly (readonly [string, readonly BuiltEntry[]])[]) {
    test(`${what} is refused`, async () => {
      await fixture.assertRefused(
        sourceOf(buildTar(entries)),
        "invalid-argument",
        /unpack layer "sha256:/,
      );
    });
  }

  for (const [what, entries, made] of [
    [
      "a file through an absolute symlink",
      [
        { name: "out", type: "2", linkName: victim },
        { name: "out/evil", data: "x" },
      ],
      join(victim, "evil"),
    ],
    [
      "a file through a relative symlink",
      [
        { name: "out", type: "2", linkName: `../../../../../..${victim}` },
        { name: "out/evil", data: "x" },
      ],
      join(victim, "evil"),
    ],
    [
      "a file through a hard link to a symlink",
      [
        { name: "out", type: "2", linkName: inside },
        { name: "same", type: "1", linkName: "out" },
        { name: "same/evil", data: "x" },
      ],
      join(inside, "evil"),
    ],
    [
      "an opaque mark through a symlink",
      [{ name: "out", type: "2", linkName: victim }, { name: "out/evil/.wh..wh..opq" }],
      join(victim, "evil"),
    ],
    [
      "a whiteout through a symlink",
      [{ name: "out", type: "2", linkName: victim }, { name: "out/.wh.evil" }],
      join(victim, "evil"),
    ],
  ] as const satisfies readonly (readonly [string, readonly BuiltEntry[], string])[]) {
    test(`${what} is created inside`, async () => {
      const diffId = await fixture.layer(...entries);
      assert.ok(lstatSync(join(fixture.filesOf(diffId), made)));
    });
  }

  for (const [what, entries] of [
    ["a hard link to an absolute name", [{ name: "evil", type: "1", linkName: inside }]],
    [
      "a hard link through a symlink",
      [
        { name: "out", type: "2", linkName: victim },
        { name: "evil", type: "1", linkName: "out/file" },
      ],
    ],
  ] as const satisfies readonly (readonly [string, readonly BuiltEntry[]])[]) {
    test(`${what} reaches lower layers at most`, async () => {
      const diffId = await fixture.layer(...entries);
      assert.ok(!existsSync(join(fixture.filesOf(diffId), "evil")));
      await assert.rejects(fixture.layers.complete([diffId], never), (error) => {
        assert.match(String(error), /link "\/evil" to ".*\/file".*: no layer below has it/);
        return isKind(error, "invalid-argument");
      });
      await assert.rejects(
        fixture.roots.mount("c1", [diffId]),
        /was not completed on the layers below it, pull/,
      );
    });
  }

  test("an absolute name and a leading slash in a link stay in the layer", async () => {
    const diffId = await fixture.layer(
      { name: join(victim, "evil"), data: "inside" },
      { name: "link", type: "1", linkName: join(victim, "evil") },
    );
    assert.equal(readFileSync(join(fixture.filesOf(diffId), "link"), "utf8"), "inside");
    assert.ok(existsSync(join(fixture.filesOf(diffId), victim, "evil")));
  });

  test("no device becomes a whiteout, and no link to one", async () => {
    const device = { name: "a", type: "3", major: 0, minor: 0 };
    await fixture.assertRefused(sourceOf(buildTar([device])), "invalid-argument", /device 0:0/);
    const link = [{ name: "d/.wh.a" }, { name: "b", type: "1", linkName: "d/a" }];
    await fixture.assertRefused(
      sourceOf(buildTar(link)),
      "invalid-argument",
      /the target "\/d\/a" of a hard link does not exist/,
    );
  });

  test("attributes that only overlayfs may set are ignored", async () => {
    const diffId = await fixture.layer({
      name: "dir",
      type: "5",
      pax: { "SCHILY.xattr.trusted.overlay.redirect": "/etc", "SCHILY.xattr.user.fine": "yes" },
    });
    const described = describeTree(fixture.filesOf(diffId)).toString("latin1");
    assert.ok(!described.includes("trusted.overlay"));
    assert.ok(described.includes("user.fine=yes"));
  });

  test("random archives write nothing outside, and never hang", async () => {
    const words = ["..", ".", "a", "b", "a/..", victim, "/", "evil", ".wh.a", ".wh..wh..opq"];
    const types = ["0", "1", "2", "5", "6"];
    for (let seed = 0; seed < 12; seed++) {
      const pick = (list: readonly string[], at: number): string =>
        list[(seed * 7919 + at * 104_729 + ((seed * at) % 13)) % list.length] ?? "";
      const entries = Array.from({ length: 60 }, (_, at) => ({
        name: [pick(words, at), pick(words, at + 1), pick(words, at * 3 + 2)]
          .join("/")
          .slice(0, 99),
        type: pick(types, at * 5),
        linkName: `${pick(words, at * 11)}/${pick(words, at * 17)}`.slice(0, 99),
        data: "",
      }));
      // A name that escapes fails the whole archive; without such names more of it is unpacked.
      const milder = entries.filter(({ name, linkName }) => !`${name}${linkName}`.includes(".."));
      for (const archive of [entries, milder]) {
        await fixture.layers.unpack(sourceOf(buildTar(archive)), never).catch((error: unknown) => {
          assert.ok(isKind(error, "invalid-argument"), String(error));
        });
      }
    }
  });
});
