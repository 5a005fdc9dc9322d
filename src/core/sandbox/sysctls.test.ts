import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { NamespaceMode, PodSandboxConfigSchema } from "../../gen/runtime/v1/api_pb.ts";
import { podSysctls } from "./sysctls.ts";

const defaults = [
  ["net.ipv4.ip_unprivileged_port_start", "0"],
  ["net.ipv4.ping_group_range", "0 2147483647"],
];

function sysctls(options: object, own: Record<string, string> = {}) {
  const linux = { securityContext: { namespaceOptions: options }, sysctls: own };
  return podSysctls(create(PodSandboxConfigSchema, { linux }));
}

test("a pod with its own network gets the defaults, and its own sysctls over them", () => {
  assert.deepEqual(podSysctls(create(PodSandboxConfigSchema)), defaults);
  const own = { "net.ipv4.ip_unprivileged_port_start": "1024", "net/ipv4/conf/eth0.1/x": "1" };
  assert.deepEqual(sysctls({}, own), [
    ["net.ipv4.ip_unprivileged_port_start", "1024"],
    ["net.ipv4.ping_group_range", "0 2147483647"],
    // In the form with slashes a dot is a part of a name: sysctl(8).
    ["net.ipv4.conf.eth0/1.x", "1"],
  ]);
});

test("a pod on the host's network gets none, and one in a user namespace the range of its groups", () => {
  assert.deepEqual(sysctls({ network: NamespaceMode.NODE }), []);
  const range = [{ containerId: 0, hostId: 65_536, length: 65_536 }];
  const usernsOptions = { mode: NamespaceMode.POD, uids: range, gids: range };
  assert.deepEqual(sysctls({ usernsOptions }), [
    defaults[0],
    ["net.ipv4.ping_group_range", "0 65535"],
  ]);
});
