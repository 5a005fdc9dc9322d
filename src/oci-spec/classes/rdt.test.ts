import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { parseRdtConfig } from "./rdt-config.ts";
import { type RdtInfo, rdtSchemata } from "./rdt-schemata.ts";

/** A processor with L3 allocation of 20 bits in two caches, and bandwidth in percent. */
const machine: RdtInfo = {
  caches: { l3: { mask: 0xfffffn, minBits: 2, isCdp: false, ids: [0, 1] } },
  bandwidth: { ids: [0, 1], least: 10, isMbps: false },
};

function schemataOf(config: unknown, info = machine): Readonly<Record<string, string>> {
  return Object.fromEntries(rdtSchemata(parseRdtConfig(config), info));
}

/** One partition with one class. */
function single(partition: object, gold: object | null): object {
  return { partitions: { p: { ...partition, classes: { gold } } } };
}

describe("rdtSchemata()", () => {
  test("divides caches among partitions by percentages, and among classes within them", () => {
    const config = {
      options: { l2: { optional: true } },
      partitions: {
        exclusive: {
          l2Allocation: "80%",
          l3Allocation: "60%",
          mbAllocation: ["100%"],
          classes: { guaranteed: { l2Allocation: "100%", l3Allocation: "100%" } },
        },
        shared: {
          l3Allocation: "40%",
          mbAllocation: ["50%"],
          classes: {
            burstable: { l3Allocation: "100%", mbAllocation: ["100%", "1000MBps"] },
            besteffort: { l3Allocation: "50%", mbAllocation: ["10%"] },
            "system/default": { l3Allocation: "51-100%" },
          },
        },
      },
    };
    assert.deepEqual(schemataOf(config), {
      guaranteed: "L3:0=fff;1=fff\nMB:0=100;1=100\n",
      burstable: "L3:0=ff000;1=ff000\nMB:0=50;1=50\n",
      // 10% of 50% is below the least of this machine.
      besteffort: "L3:0=f000;1=f000\nMB:0=10;1=10\n",
      "system/default": "L3:0=f0000;1=f0000\nMB:0=50;1=50\n",
    });
  });

  test("gives caches by their IDs what they are named with, and others what all have", () => {
    const config = single(
      { l3Allocation: { all: "100%", "1": "50%" }, mbAllocation: { all: ["80%"], "0-0": ["40%"] } },
      { l3Allocation: { "0": "0x3" } },
    );
    assert.deepEqual(schemataOf(config), { gold: "L3:0=3;1=3ff\nMB:0=40;1=80\n" });
  });

  test("takes masks and bits from the first bit of the partition on", () => {
    const config = {
      partitions: {
        root: { l3Allocation: "0xff000", classes: { "": { l3Allocation: "0-3" } } },
        own: { l3Allocation: "0-11", classes: { gold: { l3Allocation: "0xc00" }, silver: null } },
      },
    };
    assert.deepEqual(schemataOf(config, { caches: machine.caches }), {
      "system/default": "L3:0=f000;1=f000\n",
      gold: "L3:0=c00;1=c00\n",
      silver: "L3:0=fff;1=fff\n",
    });
  });

  test("rounds a small portion up to the fewest bits", () => {
    const config = single({ l3Allocation: "100%" }, { l3Allocation: "1%" });
    assert.match(schemataOf(config)["gold"] ?? "", /^L3:0=3;1=3\n/);
    const top = single({ l3Allocation: "100%" }, { l3Allocation: "100-100%" });
    assert.match(schemataOf(top)["gold"] ?? "", /^L3:0=c0000;1=c0000\n/);
    const small = {
      partitions: {
        a: { l3Allocation: "99%", classes: { a: null } },
        b: { l3Allocation: "1%", classes: { b: null } },
      },
    };
    const { a, b } = schemataOf(small, { caches: machine.caches });
    assert.deepEqual([a, b], ["L3:0=3ffff;1=3ffff\n", "L3:0=c0000;1=c0000\n"]);
  });

  test("separates code and data where the kernel does", () => {
    const l3 = { mask: 0xffn, minBits: 1, isCdp: true, ids: [0] };
    const config = single(
      { l3Allocation: "100%" },
      { l3Allocation: { all: { unified: "100%", code: "25%", data: "0xf0" } } },
    );
    assert.deepEqual(schemataOf(config, { caches: { l3 } }), {
      gold: "L3CODE:0=3\nL3DATA:0=f0\n",
    });
  });

  test("uses MBps where resctrl is mounted so", () => {
    const info = { caches: {}, bandwidth: { ids: [0], least: 10, isMbps: true } };
    const config = {
      partitions: {
        p: {
          mbAllocation: ["50%", "2000MBps"],
          classes: { a: { mbAllocation: ["50%", "3000MBps"] }, b: { mbAllocation: ["500MBps"] } },
        },
        q: { classes: { c: null } },
      },
    };
    const expected = { a: "MB:0=2000\n", b: "MB:0=500\n", c: "MB:0=4294967295\n" };
    assert.deepEqual(schemataOf(config, info), expected);
  });

  for (const [name, config, message] of [
    [
      "more than all",
      { partitions: { a: { l3Allocation: "60%" }, b: { l3Allocation: "50%" } } },
      /110% together/,
    ],
    [
      "masks that overlap",
      { partitions: { a: { l3Allocation: "0xf" }, b: { l3Allocation: "0x18" } } },
      /partition "b" overlaps/,
    ],
    [
      "a partition without its portion",
      { partitions: { a: { l3Allocation: "60%" }, b: {} } },
      /partitions "b" have no l3Allocation/,
    ],
    [
      "masks beside percentages",
      { partitions: { a: { l3Allocation: "60%" }, b: { l3Allocation: "0xf" } } },
      /all have percentages or all have masks/,
    ],
    ["a range of a partition", { partitions: { a: { l3Allocation: "1-50%" } } }, /range/],
    [
      "too few bits",
      { partitions: { a: { l3Allocation: "1%" }, b: { l3Allocation: "1%" } } },
      /too few bits/,
    ],
    ["no bits at all", { partitions: { a: { l3Allocation: "0%" } } }, /from 1% to 100%/],
    ["a mask beyond the cache", { partitions: { a: { l3Allocation: "0x300000" } } }, /not within/],
    [
      "a mask beyond the partition",
      single({ l3Allocation: "0xf" }, { l3Allocation: "0x18" }),
      /class "gold": mask 0x18 does not fit/,
    ],
    ["holes", single({ l3Allocation: "100%" }, { l3Allocation: "0x5" }), /one block/],
    ["one bit", single({ l3Allocation: "100%" }, { l3Allocation: "3" }), /fewer bits/],
    ["an unknown unit", single({ mbAllocation: ["5GBps"] }, {}), /needs a value such as 50%/],
    [
      "a resource that is not there",
      single({ l2Allocation: "50%" }, { l2Allocation: "50%" }),
      /class "gold" has l2Allocation, which this machine cannot allocate/,
    ],
    ["wrong cache IDs", single({ l3Allocation: { "1-0": "50%" } }, {}), /cache IDs/],
  ] as const) {
    test(`refuses ${name}`, () => {
      assert.throws(() => schemataOf(config), { kind: "invalid-argument", message });
    });
  }
});

describe("parseRdtConfig()", () => {
  for (const [name, config, message] of [
    ["an unknown key", { partition: {} }, /the file has "partition"/],
    [
      "a class above its directory",
      { partitions: { p: { classes: { "../a": null } } } },
      /"..\/a"/,
    ],
    [
      "a class twice",
      { partitions: { p: { classes: { a: null } }, q: { classes: { a: null } } } },
      /defined twice/,
    ],
    [
      "a portion of nothing",
      single({}, { l3Allocation: "50%", mbAllocation: ["50%"] }),
      /has l3 and mbAllocation, and its partition "p" has none/,
    ],
    [
      "code without data",
      single({ l3Allocation: { all: { unified: "5%", code: "5%" } } }, null),
      /"code" and "data"/,
    ],
    ["no portion", single({ l3Allocation: { all: { code: "5%", data: "5%" } } }, null), /unified/],
    ["a flag that is a text", { options: { l3: { optional: "yes" } } }, /true or false/],
  ] as const) {
    test(`refuses ${name}`, () => {
      assert.throws(() => parseRdtConfig(config), { kind: "invalid-argument", message });
    });
  }

  test("reads who may name a class", () => {
    const kubernetes = { denyPodAnnotation: true };
    const { partitions } = parseRdtConfig(single({}, { kubernetes }));
    const gold = partitions.get("p")?.classes.get("gold");
    assert.equal(gold?.denyPodAnnotation, true);
    assert.equal(gold.denyContainerAnnotation, false);
  });
});
