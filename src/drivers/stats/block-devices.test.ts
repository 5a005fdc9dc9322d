import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { describe, test } from "node:test";

import { DeviceNames, parseIoStat, parseThrottleFiles } from "./block-devices.ts";

const nameDevice = (major: number, minor: number): string =>
  `/dev/x${String(major)}-${String(minor)}`;

void describe("parseIoStat()", () => {
  void test("reads the counters of each device, by their names", () => {
    const text =
      "8:16 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=3 dios=4\n" +
      "253:0 wbytes=0 rbytes=18446744073709551615 wios=0 rios=7 cost.usage=5\n";
    assert.deepEqual(parseIoStat(text, nameDevice), [
      {
        major: 8,
        minor: 16,
        name: "/dev/x8-16",
        bytes: new Map([
          ["Read", 4096n],
          ["Write", 8192n],
        ]),
        requests: new Map([
          ["Read", 1n],
          ["Write", 2n],
        ]),
      },
      {
        major: 253,
        minor: 0,
        name: "/dev/x253-0",
        bytes: new Map([
          ["Read", 18446744073709551615n],
          ["Write", 0n],
        ]),
        requests: new Map([
          ["Read", 7n],
          ["Write", 0n],
        ]),
      },
    ]);
  });

  void test("skips lines without counters or with damage, and has none without a text", () => {
    assert.deepEqual(
      parseIoStat("254:0 \n8:0\nx rbytes=1 wbytes=1\n8:0 rbytes=z wbytes=1\n", nameDevice),
      [],
    );
    assert.deepEqual(parseIoStat(null, nameDevice), []);
  });

  void test("stops at 256 devices", () => {
    const lines = Array.from({ length: 300 }, (_, at) => `8:${String(at)} rbytes=1 wbytes=1`);
    assert.equal(parseIoStat(lines.join("\n"), nameDevice).length, 256);
  });
});

void test("parseThrottleFiles() joins bytes and requests, without the sum of all devices", () => {
  const bytes =
    "8:0 Read 4096\n8:0 Write 0\n8:0 Discard 1\n8:0 Total 4097\n9:0 Read 5\nTotal 4102\n";
  const [disk, other, ...more] = parseThrottleFiles(
    bytes,
    "8:0 Read 2\n8:0 Write 0\nTotal 2\n",
    nameDevice,
  );
  assert.deepEqual(more, []);
  assert.deepEqual(
    [...(disk?.bytes ?? [])],
    [
      ["Read", 4096n],
      ["Write", 0n],
      ["Discard", 1n],
      ["Total", 4097n],
    ],
  );
  assert.deepEqual(disk?.requests.get("Read"), 2n);
  assert.deepEqual(
    [other?.name, other?.bytes.get("Read"), other?.requests.size],
    ["/dev/x9-0", 5n, 0],
  );
  assert.deepEqual(parseThrottleFiles("Total 0\n", undefined, nameDevice), []);
});

void test("DeviceNames.nameOf() has the kernel's name, and the numbers of an unknown device", () => {
  const { nameOf } = new DeviceNames(() => 0);
  assert.equal(nameOf(4095, 1_000_000), "4095:1000000");
  const [numbers = ""] = readdirSync("/sys/dev/block");
  if (numbers === "") return;
  const [major, minor] = numbers.split(":").map(Number);
  assert.match(nameOf(major ?? -1, minor ?? -1), /^\/dev\/[a-z]/);
});
