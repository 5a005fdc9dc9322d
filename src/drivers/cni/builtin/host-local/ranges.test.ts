import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { formatAddress, parseAddress } from "../address.ts";
import { candidates, checkOverlaps, formatRange, parseRange, parseRangeSets } from "./ranges.ts";

const tried = (ranges: readonly object[], last?: string): readonly string[] => {
  const [set = []] = parseRangeSets([ranges]);
  return [...candidates(set, parseAddress(last))].map(({ address }) => formatAddress(address));
};

describe("parseRange()", () => {
  test("fills in gateway, start and end", () => {
    const range = (conf: object) => {
      const parsed = parseRange(conf);
      return `${formatRange(parsed)} ${formatAddress(parsed.gateway)}`;
    };
    assert.equal(range({ subnet: "10.0.0.0/24" }), "10.0.0.1-10.0.0.254 10.0.0.1");
    assert.equal(range({ subnet: "fd00::/120" }), "fd00::1-fd00::ff fd00::1");
    const given = { rangeStart: "10.0.0.9", rangeEnd: "10.0.0.12", gateway: "10.0.0.254" };
    assert.equal(range({ subnet: "10.0.0.0/24", ...given }), "10.0.0.9-10.0.0.12 10.0.0.254");
  });

  test("has the plugin's reasons", () => {
    const reasons: readonly (readonly [object, RegExp])[] = [
      [{ subnet: "10.0.0.0/31" }, /Network 10\.0\.0\.0\/31 too small to allocate from/],
      [{ subnet: "10.0.0.1/24" }, /host bits set.* network address is 10\.0\.0\.0/],
      [{ subnet: "10.0.0.0/24", rangeStart: "10.0.1.1" }, /RangeStart 10\.0\.1\.1 not in network/],
      [{ subnet: "10.0.0.0/24", rangeEnd: "10.0.1.1" }, /RangeEnd 10\.0\.1\.1 not in network/],
      [{ subnet: "10.0.0.0/24", rangeStart: "10.0.0.9", rangeEnd: "10.0.0.8" }, /RangeStart/],
      [{ subnet: "10.0.0.0/24", gateway: "fd00::1" }, /family/],
      [{ subnet: "10.0.0.0/24", more: 1 }, /does not know key "more"/],
      [{ subnet: "0.0.0.0/0" }, /"subnet" must be/],
      [{}, /"subnet" must be/],
    ];
    for (const [conf, reason] of reasons) assert.throws(() => parseRange(conf), reason);
  });

  test("sets have one family and do not overlap", () => {
    const [a, b, six] = [
      { subnet: "10.0.0.0/24" },
      { subnet: "10.0.0.0/25" },
      { subnet: "fd00::/64" },
    ];
    assert.throws(() => parseRangeSets([[a, b]]), /invalid range set 0: subnets .* overlap/);
    assert.throws(
      () => parseRangeSets([[a], [a, six]]),
      /invalid range set 1: mixed address families/,
    );
    assert.throws(() => parseRangeSets([[]]), /empty range set/);
    assert.throws(
      () => checkOverlaps(parseRangeSets([[a], [six], [b]])),
      /range set 0 overlaps with 2/,
    );
    checkOverlaps(parseRangeSets([[a], [six]]));
  });
});

describe("candidates()", () => {
  test("begin with the first address, or after the last one, and go around the set", () => {
    const small = { subnet: "10.0.0.0/29" };
    const all = ["2", "3", "4", "5", "6"].map((part) => `10.0.0.${part}`);
    assert.deepEqual(tried([small]), all);
    assert.deepEqual(
      tried([small], "10.0.0.4"),
      ["5", "6", "2", "3", "4"].map((part) => `10.0.0.${part}`),
    );
    assert.deepEqual(tried([small], "10.9.9.9"), all);
    const other = { subnet: "10.1.0.0/30", gateway: "10.1.0.2" };
    assert.deepEqual(tried([small, other], "10.0.0.6"), ["10.1.0.1", ...all]);
  });

  test("do not exist where the only address is the gateway", () => {
    assert.deepEqual(
      tried([{ subnet: "10.0.0.0/30", rangeStart: "10.0.0.1", rangeEnd: "10.0.0.1" }]),
      [],
    );
  });
});
