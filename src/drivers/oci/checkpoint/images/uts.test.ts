import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind } from "../../../../base/errors.ts";
import { imageEntries, type ImageKind, writeImage } from "./image-file.ts";
import { message } from "./testing/message.ts";
import { withHostname } from "./uts.ts";

describe("withHostname()", () => {
  const uts = (...entries: readonly Uint8Array[]): Uint8Array => writeImage("uts", entries);

  test("replaces the hostname and keeps the domain", () => {
    const image = withHostname(uts(message([1, "old"], [2, "domain"])), "new");
    assert.deepEqual(
      imageEntries("uts", image).map((entry) => Buffer.from(entry).toString("hex")),
      [Buffer.from(message([1, "new"], [2, "domain"])).toString("hex")],
    );
  });

  for (const [name, image] of [
    ["no entry", uts()],
    ["two entries", uts(message([1, "a"]), message([1, "b"]))],
    ["a damaged entry", uts(Uint8Array.of(0x12, 0x40, 1))],
    ["another image", writeImage("ids" satisfies ImageKind, [message([1, "a"])])],
  ] as const) {
    test(`refuses ${name}`, () => {
      assert.throws(
        () => withHostname(image, "new"),
        (error) => isKind(error, "invalid-argument"),
      );
    });
  }
});
