import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseMountInfo } from "./mounts.ts";

describe("parseMountInfo()", () => {
  test("reads every field and decodes escapes", () => {
    const text =
      "36 35 98:0 /mnt1 /mnt\\0402\\134x rw,noatime shared:1 master:2 - ext3 /dev/root\\011 rw,errors=continue\n" +
      "37 35 0:4 net:[4026532249] /run/ns rw - nsfs nsfs rw\n";
    assert.deepEqual(parseMountInfo(text), [
      {
        id: 36,
        parentId: 35,
        device: "98:0",
        root: "/mnt1",
        mountPoint: "/mnt 2\\x",
        options: ["rw", "noatime"],
        propagation: ["shared:1", "master:2"],
        fsType: "ext3",
        source: "/dev/root\t",
        superOptions: ["rw", "errors=continue"],
      },
      {
        id: 37,
        parentId: 35,
        device: "0:4",
        root: "net:[4026532249]",
        mountPoint: "/run/ns",
        options: ["rw"],
        propagation: [],
        fsType: "nsfs",
        source: "nsfs",
        superOptions: ["rw"],
      },
    ]);
  });

  test("rejects a malformed line", () => {
    assert.throws(() => parseMountInfo("36 35 98:0 / / rw\n"), /malformed line "36 35/);
  });
});
