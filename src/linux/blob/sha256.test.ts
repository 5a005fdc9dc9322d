import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";
import { test } from "node:test";

import { openSha256, sha256Here } from "./native.ts";

for (const open of [openSha256, sha256Here]) {
  test(`${open.name}() gives the digest of all pieces`, async () => {
    const hash = open();
    const expected = createHash("sha256");
    for (const size of [0, 1, 63, 64, 65, 100_000]) {
      const bytes = randomBytes(size);
      expected.update(bytes);
      await hash.update(bytes);
    }
    assert.equal(hash.digest(), expected.digest("hex"));
    assert.throws(() => hash.digest());
  });
}

test("openSha256() takes one piece at a time", async () => {
  const hash = openSha256();
  const first = hash.update(Buffer.alloc(10_000_000));
  await assert.rejects(hash.update(Buffer.alloc(1)), /a hash|a handle/);
  await first;
  assert.equal(hash.digest().length, 64);
});
