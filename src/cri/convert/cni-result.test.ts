import assert from "node:assert/strict";
import { test } from "node:test";
import { goCniResult } from "./cni-result.ts";

test("goCniResult() gives each interface its addresses, and those without one to eth0", () => {
  const result = {
    cniVersion: "1.0.0",
    interfaces: [
      { name: "dvt0", mac: "aa:00" },
      { name: "eth0", mac: "bb:00", sandbox: "/run/netns/x" },
    ],
    ips: [{ interface: 1, address: "10.1.0.2/24", gateway: "10.1.0.1" }, { address: "fd00::2/64" }],
    routes: [{ dst: "0.0.0.0/0" }],
    dns: { nameservers: ["10.1.0.1"] },
  };
  const none = { PciID: "", SocketPath: "" };
  assert.deepEqual(goCniResult(JSON.stringify(result)), {
    Interfaces: {
      eth0: {
        IPConfigs: [
          { IP: "10.1.0.2", Gateway: "10.1.0.1" },
          { IP: "fd00::2", Gateway: "" },
        ],
        Mac: "bb:00",
        Sandbox: "/run/netns/x",
        ...none,
      },
      dvt0: { IPConfigs: [], Mac: "aa:00", Sandbox: "", ...none },
    },
    DNS: [{ nameservers: ["10.1.0.1"] }],
    Routes: [{ dst: "0.0.0.0/0" }],
  });
});

test("goCniResult() takes a result that has next to nothing", () => {
  assert.deepEqual(goCniResult('{"ips":[{"address":"10.0.0.2/8"}]}'), {
    Interfaces: {
      eth0: {
        IPConfigs: [{ IP: "10.0.0.2", Gateway: "" }],
        Mac: "",
        Sandbox: "",
        PciID: "",
        SocketPath: "",
      },
    },
    DNS: [{}],
    Routes: [],
  });
});
