import assert from "node:assert/strict";
import { test } from "node:test";

import { parseNetDev } from "./net-dev.ts";

const head =
  "Inter-|   Receive                                                |  Transmit\n" +
  " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";

void test("parseNetDev() takes bytes and errors of everything but the loopback", () => {
  const text =
    `${head}    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0\n` +
    "  eth0: 902991896   20969    3    4    5     6          7         8  1568254   13038    9    0    0     0       0          0\n" +
    "net1.7:18446744073709551615 1 0 0 0 0 0 0 2 0 0 0 0 0 0 0\n";
  assert.deepEqual(parseNetDev(text), [
    { name: "eth0", rxBytes: 902991896n, rxErrors: 3n, txBytes: 1568254n, txErrors: 9n },
    { name: "net1.7", rxBytes: 18446744073709551615n, rxErrors: 0n, txBytes: 2n, txErrors: 0n },
  ]);
});

void test("parseNetDev() gives nothing for an empty or a cut text", () => {
  assert.deepEqual(parseNetDev(""), []);
  assert.deepEqual(parseNetDev(`${head}  eth0: 1 2 3`), []);
});
