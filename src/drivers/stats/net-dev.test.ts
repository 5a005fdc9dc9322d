import assert from "node:assert/strict";
import { test } from "node:test";

import { parseNetDev } from "./net-dev.ts";

const head =
  "Inter-|   Receive                                                |  Transmit\n" +
  " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

void test("parseNetDev() takes the counters of everything but the loopback", () => {
  const text =
    `${head}    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n` +
    "  eth0: 902991896   20969    3    4    5     6          7         8  1568254   13038    9   10    0     0       0          0\n" +
    "net1.7:18446744073709551615 1 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n";
  assert.deepEqual(parseNetDev(text), [
    {
      name: "eth0",
      rxBytes: 902991896n,
      rxPackets: 20969n,
      rxErrors: 3n,
      rxDropped: 4n,
      txBytes: 1568254n,
      txPackets: 13038n,
      txErrors: 9n,
      txDropped: 10n,
    },
    {
      name: "net1.7",
      rxBytes: 18446744073709551615n,
      rxPackets: 1n,
      rxErrors: 0n,
      rxDropped: 0n,
      txBytes: 2n,
      txPackets: 0n,
      txErrors: 0n,
      txDropped: 0n,
    },
  ]);
});

void test("parseNetDev() gives nothing for an empty or a cut text", () => {
  assert.deepEqual(parseNetDev(""), []);
  assert.deepEqual(parseNetDev(`${head}  eth0: 1 2 3`), []);
});

void test("parseNetDev() stops at 64 interfaces", () => {
  const line = (index: number): string => `dummy${String(index)}: ${"1 ".repeat(16).trim()}\n`;
  const text = head + Array.from({ length: 500 }, (_, index) => line(index)).join("");
  const found = parseNetDev(text);
  assert.deepEqual([found.length, found.at(-1)?.name], [64, "dummy63"]);
});
