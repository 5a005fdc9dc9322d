import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import {
  NamespaceMode,
  PodSandboxState,
  PodSandboxStatusResponseSchema,
  PortMappingSchema,
  Protocol,
} from "../../gen/runtime/v1/api_pb.ts";
import { formatPodSummary, parseSandboxInfo } from "./pod-summary.ts";
import { recordedTerminal } from "./testing/recorded-terminal.ts";

const INFO = JSON.stringify({
  pid: 0,
  runtimeSpec: {
    linux: {
      cgroupsPath: "/davit/x/abcdef",
      namespaces: [
        { type: "ipc", path: "/i" },
        { type: "network", path: "/run/n" },
      ],
    },
  },
});

test("formatPodSummary() prints a field in each line and omits empty ones", () => {
  const answer = create(PodSandboxStatusResponseSchema, {
    status: {
      id: "abcdef",
      metadata: { name: "hello", namespace: "default", uid: "u", attempt: 0 },
      state: PodSandboxState.SANDBOX_READY,
      createdAt: 1_000_000_000n,
      network: { ip: "10.88.77.2", additionalIps: [{ ip: "fd00::2" }] },
      linux: {
        namespaces: { options: { network: NamespaceMode.POD, pid: NamespaceMode.CONTAINER } },
      },
      labels: { app: "hello", tier: "web" },
      runtimeHandler: "crun",
    },
    info: { info: INFO },
  });
  const ports = [
    create(PortMappingSchema, { hostPort: 8077, containerPort: 8080, protocol: Protocol.TCP }),
    create(PortMappingSchema, { hostPort: 0, containerPort: 9090, protocol: Protocol.UDP }),
  ];
  const { style } = recordedTerminal();
  assert.equal(
    formatPodSummary(answer, { ports, now: new Date(3000), style }),
    [
      "  Pod          default/hello",
      "  Id           abcdef",
      "  State        ready, created 2.0 s ago",
      "  Address      10.88.77.2",
      "               fd00::2",
      "  Host port    8077 -> 8080/tcp",
      "  Runtime      crun",
      "  Namespaces   network: pod",
      "               ipc: pod",
      "               processes: container",
      "  Network ns   /run/n",
      "  Cgroup       /davit/x",
      "  Labels       app = hello",
      "               tier = web",
      "",
    ].join("\n"),
  );
});

test("parseSandboxInfo() accepts any info of a runtime", () => {
  const nothing = { cgroup: undefined, networkNamespace: undefined };
  for (const info of ["", "[]", "null", '{"runtimeSpec":3}', "{", '{"runtimeSpec":{"linux":[]}}']) {
    assert.deepEqual(parseSandboxInfo({ info }), nothing);
  }
  assert.deepEqual(parseSandboxInfo({}), nothing);
  assert.deepEqual(parseSandboxInfo({ info: INFO }), {
    cgroup: "/davit/x/abcdef",
    networkNamespace: "/run/n",
  });
});
