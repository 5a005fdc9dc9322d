/**
 * Archives that two readers parse differently, so that a scanner sees other files than those that run. Each layer must
 * have the files that Go's archive/tar finds in it, or be refused.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  base256,
  buildEntry,
  type BuiltEntry,
  paxContent,
} from "../../src/unpack/testing/tar-builder.ts";
import { imageless, Node } from "../support/suites/containers.ts";
import { code, failsWith } from "../support/suites/pods.ts";
import { assertRefused, oddLayer, pushed, saidIn } from "../support/suites/odd-layers.ts";

let node: Node;
before(async () => {
  node = await Node.start();
});
after(() => node[Symbol.asyncDispose]());
const served = (): Node["daemon"] => node.daemon;

const smuggled = buildEntry({ name: "smuggled", data: "x".repeat(512) });

/** What is in the root of an image with a layer of these entries, beside busybox. */
async function rootWith(...entries: readonly BuiltEntry[]): Promise<string> {
  const image = await pushed(node, oddLayer(...entries));
  const script = "cd / && ls -d dirx smuggled gfile lk last a 2>/dev/null; cat dirx | wc -c";
  return (await saidIn(node, image, script)).replaceAll("\n", " ");
}

describe("an entry inside the data of another", () => {
  test(
    "behind a file with a slash whose size PAX has",
    imageless(served, async () => {
      const dirx = { name: "dirx/", data: smuggled, size: 0, pax: { size: "1024" } };
      assert.equal(await rootWith(dirx, { name: "last" }), "dirx last 1024");
    }),
  );

  test(
    "behind a file with a slash whose size PAX takes away",
    imageless(served, async () => {
      const dirx = { name: "dirx/", size: 1024, pax: { size: "0" } };
      const entries = [dirx, { name: "smuggled", data: "x".repeat(512) }];
      assert.equal(await rootWith(...entries), "dirx smuggled 0");
    }),
  );

  test(
    "behind a directory of V7, which has no data",
    imageless(served, async () => {
      const dirx = { name: "a/", type: "\0", data: smuggled };
      assert.equal(await rootWith(dirx, { name: "dirx" }), "a dirx smuggled 0");
    }),
  );
});

describe("global headers", () => {
  test(
    "change no entry",
    imageless(served, async () => {
      const records = { path: "gfile", linkpath: "/etc/shadow", size: "1024", uid: "7" };
      const global = { name: "g", type: "g", data: paxContent(records) };
      const image = await pushed(
        node,
        oddLayer(
          global,
          { name: "a", data: "abc" },
          { name: "lk", type: "2", linkName: "a" },
          { name: "last" },
        ),
      );
      const script = "cd /; ls gfile 2>&1; readlink lk; stat -c '%n %s %u' a last";
      const said = await saidIn(node, image, script);
      assert.match(said, /gfile: No such file[^]*\na\na 3 0\nlast 0 0/);
    }),
  );
});

describe("device numbers that the kernel would truncate", () => {
  for (const [what, device, message] of [
    [
      "of 33 bits, which would be 0:0",
      { raw: { 329: base256(2n ** 32n, 8), 337: base256(2n ** 32n, 8) } },
      /invalid device 4294967296:4294967296/,
    ],
    ["of 13 bits, which would be another", { major: 4104, minor: 0 }, /invalid device 4104:0/],
    ["0:0, which is a whiteout", {}, /"\/bin\/sh" is the device 0:0/],
  ] as const) {
    test(
      what,
      imageless(served, async () => {
        const image = await pushed(node, oddLayer({ name: "bin/sh", type: "3", ...device }));
        await assertRefused(node, image, failsWith(code.invalidArgument, message));
      }),
    );
  }
});
