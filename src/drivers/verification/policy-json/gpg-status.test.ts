import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { importedKeys, readGpgStatus } from "./gpg-status.ts";

const primary = "FFBB2EFE8A6FD71A8475DDBD4F2E9A04CAF3F150";
const sub = "1111111111111111111111111111111111111111";
const good = [
  "PLAINTEXT 62 1796101316 text",
  "NEWSIG",
  "GOODSIG 4F2E9A04CAF3F150 Test <t@x.test>",
  `VALIDSIG ${sub} 2026-12-01 1796101316 0 4 0 22 10 00 ${primary}`,
];
const read = (...lines: readonly string[]) =>
  readGpgStatus(lines.map((line) => `[GNUPG:] ${line}\n`).join(""));

describe("readGpgStatus()", () => {
  test("names the primary key of a good signature", () => {
    assert.deepEqual(read(...good), { signer: primary });
  });

  test("reads only lines of gpg's status", () => {
    assert.match(readGpgStatus(good.join("\n")).reason ?? "", /not one signed message/);
    assert.match(readGpgStatus("").reason ?? "", /not one signed message/);
  });

  for (const [line, why] of [
    ["BADSIG 4F2E9A04CAF3F150 Test", /signature is wrong \(key 4F2E9A04CAF3F150\)/],
    ["ERRSIG 4F2E9A04CAF3F150 22 10 00 1796101316 9 -", /not trusted/],
    ["EXPSIG 4F2E9A04CAF3F150 Test", /signature has expired/],
    ["EXPKEYSIG 4F2E9A04CAF3F150 Test", /key of the signature has expired/],
    ["REVKEYSIG 4F2E9A04CAF3F150 Test", /revoked/],
    ["NODATA 1", /not a signed message/],
    ["DECRYPTION_INFO 2 9", /encrypted/],
    ["PLAINTEXT 62 1 other", /not one signed message/],
    ["NEWSIG", /exactly one good signature/],
    ["GOODSIG 4F2E9A04CAF3F150 Other", /exactly one good signature/],
    [good[3] ?? "", /exactly one good signature/],
  ] as const) {
    test(`refuses a good signature with ${line.split(" ")[0]}`, () => {
      assert.match(read(...good, line).reason ?? "", why);
    });
  }

  test("refuses a signature that is not of a document, and one without a key", () => {
    const [text = "", start = "", accepted = ""] = good;
    const valid = (end: string) => `VALIDSIG ${sub} 2026-12-01 1796101316 0 4 0 22 10 ${end}`;
    for (const type of ["01", "02", "10"]) {
      const { reason = "" } = read(text, start, accepted, valid(`${type} ${primary}`));
      assert.match(reason, /does not sign a binary document/, type);
    }
    assert.match(read(text, start, accepted, valid("00")).reason ?? "", /does not name its key/);
    assert.match(read(text, start, accepted).reason ?? "", /exactly one good signature/);
  });
});

test("importedKeys() has the fingerprints", () => {
  const text = `[GNUPG:] IMPORT_OK 1 ${primary}\n[GNUPG:] IMPORT_OK 0 nothing\nIMPORT_OK 1 ${sub}\n`;
  assert.deepEqual(importedKeys(text), [primary]);
});
