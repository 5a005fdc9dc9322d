import assert from "node:assert/strict";
import { describe, test } from "node:test";

import type { NetworkRequest } from "../../core/network/index.ts";
import {
  attachmentArgs,
  parseAttachmentArgs,
  parseCidr,
  parsePodCidrs,
} from "./attachment-args.ts";

const request: NetworkRequest = {
  sandboxId: "s1",
  netnsPath: "/run/netns/s1",
  podName: "web",
  podNamespace: "shop",
  podUid: "u1",
  annotations: {},
  portMappings: [],
  dns: { servers: [], searches: [], options: [] },
  cgroupPath: "",
};

describe("attachmentArgs()", () => {
  test("names the pod in CNI_ARGS", () => {
    assert.equal(
      attachmentArgs(request, []).cniArgs,
      "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=s1;K8S_POD_UID=u1",
    );
  });

  test("leaves out empty capabilities", () => {
    assert.deepEqual(attachmentArgs(request, []).capabilityArgs, {
      "io.kubernetes.cri.pod-annotations": {},
    });
  });

  test("fills all capabilities, and parses its own text", () => {
    const annotations = { "kubernetes.io/ingress-bandwidth": "1M" };
    const port = { hostPort: 8080, containerPort: 80, protocol: "tcp" } as const;
    const args = attachmentArgs(
      {
        ...request,
        annotations,
        portMappings: [
          { ...port, hostIp: "" },
          { ...port, hostPort: 8081, hostIp: "127.0.0.1" },
        ],
        dns: { servers: ["10.0.0.10"], searches: ["svc"], options: ["ndots:5"] },
        cgroupPath: "/kubepods/pod1",
      },
      ["10.1.0.0/24", "fd00::/64"],
    );
    assert.deepEqual(args.capabilityArgs, {
      "io.kubernetes.cri.pod-annotations": annotations,
      portMappings: [port, { ...port, hostPort: 8081, hostIP: "127.0.0.1" }],
      bandwidth: { ingressRate: 1_000_000, ingressBurst: 2_147_483_647 },
      dns: { servers: ["10.0.0.10"], searches: ["svc"], options: ["ndots:5"] },
      ipRanges: [[{ subnet: "10.1.0.0/24" }], [{ subnet: "fd00::/64" }]],
      cgroupPath: "/kubepods/pod1",
    });
    assert.deepEqual(parseAttachmentArgs(JSON.stringify(args)), args);
  });

  test("refuses a name that would become more arguments", () => {
    const evil = { ...request, podName: "a;K8S_POD_UID=other" };
    assert.throws(() => attachmentArgs(evil, []), {
      kind: "invalid-argument",
      message: /K8S_POD_NAME/,
    });
  });
});

test("parsePodCidrs() accepts both families and refuses the rest", () => {
  assert.deepEqual(parsePodCidrs("10.0.0.0/24, fd00::/64"), ["10.0.0.0/24", "fd00::/64"]);
  assert.deepEqual(parsePodCidrs(""), []);
  assert.throws(() => parsePodCidrs("10.0.0.0"), { kind: "invalid-argument" });
});

test("parseCidr() checks the length by the family", () => {
  assert.equal(parseCidr("10.0.0.1/32"), "10.0.0.1");
  assert.equal(parseCidr("10.0.0.1/33"), undefined);
  assert.equal(parseCidr("fd00::1/128"), "fd00::1");
  assert.equal(parseCidr("fd00::1/129"), undefined);
  assert.equal(parseCidr("10.0.0.1/"), undefined);
  assert.equal(parseCidr("/24"), undefined);
});
