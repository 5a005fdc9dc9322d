import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { parseResult, podAddresses } from "./result.ts";

const bridge = { name: "cni0" };
const host = { name: "veth1" };
const pod = { name: "eth0", sandbox: "/run/netns/s1" };

describe("parseResult()", () => {
  test("keeps unknown fields", () => {
    const text =
      '{"cniVersion":"1.0.0","ips":[{"address":"10.0.0.2/24","gateway":"10.0.0.1"}],"x":1}';
    assert.deepEqual(parseResult(text, "1.0.0"), JSON.parse(text));
  });

  test("adds the family of addresses up to 0.4.0, and removes it from 1.0.0 on", () => {
    const ips = (text: string, version: "0.3.1" | "1.1.0"): unknown =>
      parseResult(text, version)["ips"];
    const newer =
      '{"cniVersion":"1.0.0","ips":[{"address":"fd00::2/64"},{"address":"10.0.0.2/24"}]}';
    assert.deepEqual(ips(newer, "0.3.1"), [
      { version: "6", address: "fd00::2/64" },
      { version: "4", address: "10.0.0.2/24" },
    ]);
    const older = '{"cniVersion":"0.4.0","ips":[{"version":"4","address":"10.0.0.2/24"}]}';
    assert.deepEqual(ips(older, "1.1.0"), [{ address: "10.0.0.2/24" }]);
    assert.equal(parseResult(older, "1.1.0")["cniVersion"], "1.1.0");
  });

  test("refuses an invalid result", () => {
    for (const [text, message] of [
      ["", /parse JSON/],
      ["null", /must be an object/],
      ['{"ips":{}}', /"ips" must be a list/],
      ['{"ips":[7]}', /"ips" must hold objects/],
      ['{"ips":[{"address":"10.0.0.2"}]}', /like "10.0.0.2\/24", got "10.0.0.2"/],
      ['{"interfaces":7}', /"interfaces" must be a list/],
      ['{"cniVersion":"0.2.0","ip4":{}}', /"0.2.0" is not supported/],
    ] as const) {
      assert.throws(() => parseResult(text, "1.0.0"), message);
    }
  });
});

describe("podAddresses()", () => {
  test("takes the pod's interface only, IPv4 first, the others in order", () => {
    const result = {
      interfaces: [bridge, host, pod],
      ips: [
        { address: "fd00::2/64", interface: 2 },
        { address: "192.0.2.1/24", interface: 0 },
        { address: "10.0.0.2/24", interface: 2 },
        { address: "10.9.0.2/24", interface: 2 },
      ],
    };
    assert.deepEqual(podAddresses(result, "eth0"), ["10.0.0.2", "fd00::2", "10.9.0.2"]);
  });

  test("takes IPv6 alone", () => {
    const ips = [{ address: "fd00::2/64" }, { address: "fd01::2/64" }];
    assert.deepEqual(podAddresses({ ips }, "eth0"), ["fd00::2", "fd01::2"]);
  });

  test("is not misled by the host's eth0", () => {
    const ips = [
      { address: "192.0.2.1/24", interface: 0 },
      { address: "10.0.0.2/24", interface: 1 },
    ];
    assert.deepEqual(podAddresses({ interfaces: [{ name: "eth0" }, pod], ips }, "eth0"), [
      "10.0.0.2",
    ]);
    assert.deepEqual(
      podAddresses({ interfaces: [{ name: "eth0", sandbox: "" }], ips: [ips[0]] }, "eth0"),
      ["192.0.2.1"],
    );
  });

  test("requires an address", () => {
    assert.throws(() => podAddresses({}, "eth0"), /no address to "eth0"/);
    const elsewhere = { interfaces: [host], ips: [{ address: "10.0.0.2/24", interface: 0 }] };
    assert.throws(() => podAddresses(elsewhere, "eth0"), /no address to "eth0"/);
    const nowhere = { interfaces: [pod], ips: [{ address: "10.0.0.2/24", interface: 1 }] };
    assert.throws(() => podAddresses(nowhere, "eth0"), /names interface 1, which is not there/);
  });
});
