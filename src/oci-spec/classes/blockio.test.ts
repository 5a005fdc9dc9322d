import assert from "node:assert/strict";
import { test } from "node:test";
import { containerConfig, podConfig } from "../testing/spec-input.ts";
import { askedClass } from "./asked-class.ts";
import { type BlockIoItem, blockIoLimits, parseBlockIoClasses } from "./blockio.ts";
import { parseQuantity } from "./quantity.ts";

test("parseQuantity() parses the quantities of Kubernetes, rounded up", () => {
  for (const [text, value] of [
    ["0", 0n],
    ["50M", 50_000_000n],
    ["10k", 10_000n],
    ["1.5Ki", 1536n],
    ["2e3", 2000n],
    ["1E3", 1000n],
    ["1E", 10n ** 18n],
    ["1m", 1n],
    ["1500m", 2n],
    [".5", undefined],
    ["5.", 5n],
    ["1e-1", 1n],
    ["9223372036854775807", 2n ** 63n - 1n],
    ["9223372036854775808", undefined],
    ["99E", undefined],
    ["-1", undefined],
    ["50 M", undefined],
    ["50MB", undefined],
    ["1mi", undefined],
    ["", undefined],
  ] as const) {
    assert.equal(parseQuantity(text), value, text);
  }
});

test("askedClass() takes the container's annotation, then the pod's for it, then the pod's", () => {
  const rdtOf = (
    own: Readonly<Record<string, string>>,
    pod: Readonly<Record<string, string>>,
  ): string | undefined => {
    const config = containerConfig({ annotations: { ...own } });
    const asked = askedClass("rdt", config, podConfig({ annotations: { ...pod } }));
    return asked && `${asked.name} ${asked.origin}`;
  };
  const prefix = "rdt.resources.beta.kubernetes.io";
  const pod = { [`${prefix}/pod`]: "a", [`${prefix}/container.web`]: "b" };
  assert.equal(rdtOf({ "io.kubernetes.cri.rdt-class": "c" }, pod), "c container");
  assert.equal(rdtOf({}, pod), "b pod");
  assert.equal(rdtOf({}, { [`${prefix}/pod`]: "a" }), "a pod");
  assert.equal(rdtOf({}, { [`${prefix}/container.other`]: "a" }), undefined);
  assert.equal(rdtOf({ "io.kubernetes.cri.rdt-class": "" }, pod), undefined);
  assert.equal(rdtOf({}, { "blockio.resources.beta.kubernetes.io/pod": "a" }), undefined);
  const blockIo = podConfig({ annotations: { "blockio.resources.beta.kubernetes.io/pod": "a" } });
  assert.deepEqual(askedClass("blockio", containerConfig(), blockIo), { name: "a", origin: "pod" });
});

const sda = { path: "/dev/sda", major: 8, minor: 0 };
const ssd = { path: "/dev/sdb", major: 8, minor: 16 };

function limitsOf(items: unknown): ReturnType<typeof blockIoLimits> {
  const classes = parseBlockIoClasses({ classes: { gold: items } });
  const devicesOf = ({ devices }: BlockIoItem): readonly (typeof sda)[] =>
    devices?.[0] === "ssd" ? [ssd] : [sda, ssd];
  return blockIoLimits(classes.get("gold") ?? [], devicesOf);
}

test("blockIoLimits() lets later items override earlier ones, device by device", () => {
  assert.deepEqual(
    limitsOf([
      { Weight: 80 },
      { Devices: ["all"], ThrottleReadBps: "50M", throttlewriteiops: "5k", Weight: "50" },
      { Devices: ["ssd"], ThrottleReadBps: 100_000_000n, ThrottleWriteIOPS: 0, Weight: 60 },
      { Weight: "400" },
    ]),
    {
      weight: 400,
      weightDevice: [
        { major: 8, minor: 0, weight: 50 },
        { major: 8, minor: 16, weight: 60 },
      ],
      throttleReadBpsDevice: [
        { major: 8, minor: 0, rate: 50_000_000n },
        { major: 8, minor: 16, rate: 100_000_000n },
      ],
      throttleWriteIOPSDevice: [{ major: 8, minor: 0, rate: 5000n }],
    },
  );
  assert.deepEqual(limitsOf(null), {});
});

test("parseBlockIoClasses() names the class and what is wrong in it", () => {
  const wrong: readonly (readonly [unknown, RegExp])[] = [
    [[{ Weight: 9 }], /^Weight of class "gold" must be a number from 10 to 1000.*"9"$/],
    [[{ Weight: 1001 }], /Weight of class "gold"/],
    [[{ Devices: ["a"], ThrottleReadIOPS: "5G" }], /ThrottleReadIOPS.*4294967295/],
    [[{ Devices: ["a"], ThrottleReadBps: "-1" }], /ThrottleReadBps.*at least 0/],
    [[{ Devices: ["a"], ThrottleReadBps: "fast" }], /"fast"$/],
    [[{ ThrottleReadBps: "1M" }], /^ThrottleReadBps of class "gold" needs Devices$/],
    [[{ Devices: "a" }], /^Devices of class "gold" must be a list$/],
    [[{ Wieght: 100 }], /^class "gold" has "Wieght", which is not one of Devices, Weight/],
    [[{ Weight: 100, weight: 100 }], /has "Weight" twice$/],
    [[7], /must be a mapping$/],
    [{}, /^class "gold" must be a list$/],
  ];
  for (const [items, message] of wrong) {
    assert.throws(() => limitsOf(items), { kind: "invalid-argument", message });
  }
  assert.throws(() => parseBlockIoClasses({ Class: {} }), /the file has "Class"/);
  assert.throws(() => parseBlockIoClasses([]), /the file must be a mapping/);
  assert.equal(parseBlockIoClasses(null).size, 0);
});
