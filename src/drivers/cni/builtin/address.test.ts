import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  addressBytes,
  contains,
  formatAddress,
  formatCidr,
  fromBytes,
  networkOf,
  parseAddress,
  parseCidr,
  prefixOf,
} from "./address.ts";

const format = (text: string): string | undefined => {
  const address = parseAddress(text);
  return address && formatAddress(address);
};

describe("parseAddress() and formatAddress()", () => {
  test("give the canonical text (RFC 5952)", () => {
    const texts = {
      "10.0.0.2": "10.0.0.2",
      "2001:DB8:0:0:1:0:0:1": "2001:db8::1:0:0:1",
      "2001:db8:0:1:1:1:1:1": "2001:db8:0:1:1:1:1:1",
      "fd00::": "fd00::",
      "fd00:0:0:0:0:0:0:0001": "fd00::1",
      "fd00:1:2:3:4:5:6:7": "fd00:1:2:3:4:5:6:7",
      "fd00:0:0:1::": "fd00:0:0:1::",
    };
    assert.deepEqual(Object.keys(texts).map(format), Object.values(texts));
  });

  test("do not know what the plugins would change", () => {
    const strange = [
      "::ffff:10.0.0.1",
      "fe80::1%eth0",
      "0.1.2.3",
      "::1",
      "01.2.3.4",
      "10.0.0",
      "x",
      "",
    ];
    assert.deepEqual(
      strange.map(format),
      strange.map(() => undefined),
    );
    assert.equal(parseAddress(7), undefined);
  });

  test("have the bytes of the kernel", () => {
    for (const text of ["10.0.0.2/24", "fd00::102/64"]) {
      const cidr = parseCidr(text);
      assert.ok(cidr);
      assert.equal(formatCidr(fromBytes(prefixOf(cidr))), text);
    }
    assert.deepEqual([...addressBytes({ family: 4, value: 0n })], [0, 0, 0, 0]);
  });
});

describe("parseCidr()", () => {
  test("needs a length that the family has", () => {
    const good = ["10.0.0.0/8", "10.0.0.1/32", "fd00::/128", "0.0.0.0/0", "::/0"];
    assert.deepEqual(
      good.map((text) => parseCidr(text)?.length),
      [8, 32, 128, 0, 0],
    );
    for (const text of [
      "10.0.0.0/33",
      "10.0.0.0",
      "10.0.0.0/08",
      "10.0.0.0/8/8",
      "/8",
      "fd00::/129",
    ]) {
      assert.equal(parseCidr(text), undefined, text);
    }
  });

  test("networkOf() and contains() cut the address", () => {
    const cidr = parseCidr("10.1.2.3/20") ?? assert.fail();
    assert.equal(formatCidr(networkOf(cidr)), "10.1.0.0/20");
    const [inside, outside, other] = ["10.1.15.255", "10.1.16.0", "fd00::1"].map(parseAddress);
    assert.ok(inside && outside && other);
    assert.deepEqual(
      [contains(cidr, inside), contains(cidr, outside), contains(cidr, other)],
      [true, false, false],
    );
  });
});
