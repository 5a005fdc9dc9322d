import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { isKind } from "../../base/errors.ts";
import { sysctlPath } from "./sysctls.ts";

describe("sysctlPath()", () => {
  test("uses the first separator", () => {
    assert.equal(sysctlPath("net.ipv4.ip_forward"), "/proc/sys/net/ipv4/ip_forward");
    assert.equal(sysctlPath("net/ipv4/ip_forward"), "/proc/sys/net/ipv4/ip_forward");
    assert.equal(
      sysctlPath("net/ipv4/conf/eth0.1/forwarding"),
      "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
    );
    assert.equal(
      sysctlPath("net.ipv4.conf.eth0/1.forwarding"),
      "/proc/sys/net/ipv4/conf/eth0.1/forwarding",
    );
  });

  test("rejects paths that lead out, and invalid keys", () => {
    for (const key of [
      "",
      "net",
      "/etc/passwd",
      "net/../x",
      "net//x",
      "net.//.x",
      "net.ipv4.",
      "a b.c",
      "net.x\n",
      "net/./x",
    ]) {
      assert.throws(
        () => sysctlPath(key),
        (e) => isKind(e, "invalid-argument"),
        JSON.stringify(key),
      );
    }
  });
});
