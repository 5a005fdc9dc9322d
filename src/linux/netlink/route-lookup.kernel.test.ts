import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { after, before, describe, test } from "node:test";

import { interfaceTo } from "./index.ts";

const ip = (args: string): void => void execFileSync("ip", args.split(" "));

describe("interfaceTo()", () => {
  before(() => {
    ip("link add dvt-r1 up type veth peer name dvt-r2");
    ip("link set dvt-r2 up");
    ip("addr add 10.90.0.1/24 dev dvt-r1");
    ip("route add 10.91.0.0/16 dev dvt-r1");
    ip("route add 10.91.7.0/24 dev dvt-r2");
    ip("route add 10.92.0.0/16 dev dvt-r2 table 100");
    ip("rule add to 10.92.0.0/16 lookup 100");
    ip("route add unreachable 10.93.0.0/16");
  });
  after(() => {
    ip("rule delete to 10.92.0.0/16 lookup 100");
    ip("route delete unreachable 10.93.0.0/16");
    ip("link delete dvt-r1");
  });

  for (const [address, name] of [
    ["10.90.0.9", "dvt-r1"],
    ["10.91.0.9", "dvt-r1"],
    ["10.91.7.9", "dvt-r2"],
    ["10.92.0.9", "dvt-r2"],
    ["10.90.0.1", "lo"],
    ["10.93.0.9", undefined],
    ["203.0.113.9", undefined],
  ] as const) {
    test(`${address}: ${name ?? "no route"}`, async () => {
      assert.equal(await interfaceTo(address), name);
    });
  }
});
