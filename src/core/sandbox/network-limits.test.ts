import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { RuntimeError } from "../../base/errors.ts";
import { NamespaceMode, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { askedEgress, checkNetworkLimits, hasNoNetwork } from "./network-limits.ts";

const egress = (text: string) => askedEgress({ annotations: { "davit.egress": text } });
const addresses = (family: 4 | 6, cidr: string, more: object = {}) => ({
  to: "addresses",
  family,
  cidr,
  ...more,
});

function refused(run: () => unknown, message: RegExp): void {
  assert.throws(run, (error: Error) => {
    assert.ok(error instanceof RuntimeError);
    assert.equal(error.kind, "invalid-argument");
    assert.match(error.message, message);
    assert.ok(error.message.length < 800, error.message);
    return true;
  });
}

describe("askedEgress()", () => {
  test("is undefined without the annotation, and empty for none", () => {
    assert.equal(askedEgress({ annotations: {} }), undefined);
    assert.deepEqual(egress("none"), []);
  });

  for (const [text, rule] of [
    ["dns", { to: "dns" }],
    ["10.0.0.1", addresses(4, "10.0.0.1")],
    ["10.0.0.0/8", addresses(4, "10.0.0.0/8")],
    ["0.0.0.0/0", addresses(4, "0.0.0.0/0")],
    ["10.0.0.1/tcp", addresses(4, "10.0.0.1", { protocol: "tcp" })],
    ["10.0.0.0/32/udp", addresses(4, "10.0.0.0/32", { protocol: "udp" })],
    ["10.0.0.1:443", addresses(4, "10.0.0.1", { ports: { first: 443, last: 443 } })],
    [
      "10.0.0.0/8:1-65535/tcp",
      addresses(4, "10.0.0.0/8", { protocol: "tcp", ports: { first: 1, last: 65_535 } }),
    ],
    ["[2001:db8::]", addresses(6, "2001:db8::")],
    ["[::/0]", addresses(6, "::/0")],
    [
      "[2001:db8::/32]:80-81/udp",
      addresses(6, "2001:db8::/32", { protocol: "udp", ports: { first: 80, last: 81 } }),
    ],
  ] as const) {
    test(`reads ${text}`, () => {
      assert.deepEqual(egress(text), [rule]);
    });
  }

  test("reads a list, with spaces around the destinations", () => {
    assert.equal(egress(" 10.0.0.0/8,dns ,  [::1]:1/tcp")?.length, 3);
    assert.equal(egress(Array(256).fill("10.0.0.1:443/tcp").join(","))?.length, 256);
  });

  for (const text of [
    "",
    ",",
    "10.0.0.1,",
    "none,dns",
    "NONE",
    "all",
    "example.com",
    "example.com:443",
    "10.0.0",
    "010.0.0.1",
    "10.0.0.256",
    "10.0.0.0/33",
    "10.0.0.0/08",
    "10.0.0.0/",
    "10.0.0.1:",
    "10.0.0.1:0",
    "10.0.0.1:65536",
    "10.0.0.1:2-1",
    "10.0.0.1:1-",
    "10.0.0.1:80/sctp",
    "10.0.0.1/tcp:80",
    "10.0.0.1:http",
    "2001:db8::1",
    "[2001:db8::1",
    "[10.0.0.1]",
    "[::/129]",
    "[::1%eth0]",
    "[::1]/64",
    "!10.0.0.1",
    "10.0.0.1\n-A OUTPUT -j ACCEPT",
    "10.0.0.1\nCOMMIT\n*nat",
    "10.0.0.1\n",
    "10.0.0.1\r",
    "10.0.0.1\t",
    "10.0.0.1\0",
    "10.0.0.1 -j ACCEPT",
    "10.0.0.1;reboot",
    "$(reboot)",
    "`reboot`",
    "１0.0.0.1",
    "10.0.0.1:٤",
    "x".repeat(10_000),
  ]) {
    test(`refuses ${JSON.stringify(text.slice(0, 30))}`, () => {
      refused(() => egress(text), /annotation "davit\.egress"/);
    });
  }

  test("refuses lists that are too long", () => {
    refused(() => egress(Array(257).fill("10.0.0.1").join(",")), /more than 256 destinations/);
    refused(() => egress("1".repeat(20_000)), /longer than 16384 characters/);
    refused(() => egress(",".repeat(16_384)), /more than 256/);
  });
});

describe("checkNetworkLimits()", () => {
  const config = (annotations: Record<string, string>, more: object = {}) =>
    create(PodSandboxConfigSchema, { annotations, ...more });
  const onNode = {
    linux: { securityContext: { namespaceOptions: { network: NamespaceMode.NODE } } },
  };
  const none = { "davit.network": "none" };
  const limited = { "davit.egress": "dns" };

  test("accepts pods without the annotations, without a network and with limits", () => {
    const ports = { portMappings: [{ containerPort: 80, hostPort: 0 }] };
    for (const valid of [
      config({}, onNode),
      config(none),
      config(none, ports),
      config(limited, { portMappings: [{ containerPort: 80, hostPort: 8080 }] }),
    ]) {
      checkNetworkLimits(valid);
    }
    assert.deepEqual([hasNoNetwork(config(none)), hasNoNetwork(config(limited))], [true, false]);
  });

  for (const [what, invalid, message] of [
    ["another network", config({ "davit.network": "host" }), /must be "none", got "host"/],
    ["none on the host network", config(none, onNode), /"davit\.network".*host network/],
    ["limits on the host network", config(limited, onNode), /"davit\.egress".*host network/],
    [
      "none with a host port",
      config(none, { portMappings: [{ containerPort: 80, hostPort: 8080 }] }),
      /host port 8080/,
    ],
    ["both", config({ ...none, ...limited }), /both set/],
    [
      "limits of a privileged pod",
      config(limited, { linux: { securityContext: { privileged: true } } }),
      /privileged pod/,
    ],
  ] as const) {
    test(`refuses ${what}`, () => {
      refused(() => checkNetworkLimits(invalid), message);
    });
  }
});
