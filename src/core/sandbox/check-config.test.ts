import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { isKind } from "../../base/errors.ts";
import {
  NamespaceMode,
  PodSandboxConfigSchema,
  PodSandboxMetadataSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { checkSandboxConfig } from "./check-config.ts";

function withHostname(hostname: string): ReturnType<typeof checkSandboxConfig> {
  return checkSandboxConfig(
    create(PodSandboxConfigSchema, { metadata: { name: "pod" }, hostname }),
  );
}

test("a hostname with a trailing dot is allowed, up to the kernel's 64 bytes", () => {
  for (const hostname of ["pod.subdomain.ns.svc.", "pod.", `${"a".repeat(63)}.`]) {
    assert.equal(withHostname(hostname).hostname, hostname);
  }
});

test("invalid hostnames are rejected", () => {
  const bad = [".", "..", "pod..", ".pod", "-pod", "pod-.", "a b", "pod\n", `${"a".repeat(64)}.`];
  for (const hostname of bad) {
    assert.throws(
      () => withHostname(hostname),
      (error) => isKind(error, "invalid-argument") && /hostname/.test(String(error)),
      JSON.stringify(hostname),
    );
  }
});

/** A config, and its error. */
type Case = readonly [config: MessageInitShape<typeof PodSandboxConfigSchema>, why: RegExp];

const namespaces = (options: object, more: object = {}): Case[0] => ({
  linux: { securityContext: { namespaceOptions: options }, ...more },
});
const node = { network: NamespaceMode.NODE };

test("invalid configs are rejected, with field and value", () => {
  const bad: readonly Case[] = [
    [{ windows: {} }, /windows is set/],
    [namespaces({ network: NamespaceMode.TARGET }), /network must be POD or NODE, got TARGET/],
    [namespaces({ ipc: NamespaceMode.CONTAINER }), /ipc must be POD or NODE, got CONTAINER/],
    [namespaces({ pid: NamespaceMode.TARGET }), /pid must be POD, CONTAINER or NODE, got TARGET/],
    [namespaces({ pid: 77 }), /pid must be POD, CONTAINER or NODE, got 77/],
    [{ hostname: "web", ...namespaces(node) }, /"web" cannot be set for a pod on the host network/],
    [{ dnsConfig: { servers: ["10.0.0.1 10.0.0.2"] } }, /dns_config\.servers/],
    [{ dnsConfig: { searches: [""] } }, /dns_config\.searches/],
    [{ dnsConfig: { options: ["a\nnameserver 1.2.3.4"] } }, /dns_config\.options/],
    [{ portMappings: [{ containerPort: -1 }] }, /container_port must be 0 to 65535, got -1/],
    [{ portMappings: [{ hostPort: 65_536 }] }, /host_port must be 0 to 65535, got 65536/],
    [{ portMappings: [{ protocol: 9 as never }] }, /port protocol/],
    [{ portMappings: [{ hostIp: "localhost" }] }, /host_ip must be an IP address/],
    [{ logDirectory: "logs" }, /log_directory must be absolute/],
    [{ linux: { cgroupParent: "/a/../b" } }, /cgroup_parent must not leave/],
    [{ linux: { cgroupParent: "/a\0" } }, /cgroup_parent must not leave/],
    [{ linux: { sysctls: { "kernel.panic": "1" } } }, /is not namespaced/],
    [{ linux: { sysctls: { "net..x": "1" } } }, /is not a sysctl's name/],
    [{ linux: { sysctls: { "net.x": "1\n2" } } }, /several lines/],
    [namespaces(node, { sysctls: { "net/ipv4/x": "1" } }), /on the host network/],
    [
      namespaces({ ipc: NamespaceMode.NODE }, { sysctls: { "kernel.shmmax": "1" } }),
      /host's IPC namespace/,
    ],
  ];
  for (const [config, message] of bad) {
    const whole = create(PodSandboxConfigSchema, config);
    whole.metadata = create(PodSandboxMetadataSchema, { name: "pod" });
    assert.throws(() => checkSandboxConfig(whole), { kind: "invalid-argument", message });
  }
  const none = create(PodSandboxConfigSchema);
  assert.throws(() => checkSandboxConfig(undefined), /config is missing/);
  assert.throws(() => checkSandboxConfig(none), /metadata is missing/);
});

test("valid configs are accepted unchanged", () => {
  const config = create(PodSandboxConfigSchema, {
    metadata: { name: "pod" },
    dnsConfig: { servers: ["10.0.0.1"], searches: ["svc"], options: ["ndots:5"] },
    portMappings: [{ containerPort: 65_535, hostPort: 0, hostIp: "fd00::1" }],
    logDirectory: "/var/log/pods",
    linux: {
      cgroupParent: "/kubepods/..pod",
      sysctls: { "net.ipv4.ip_forward": "1", "kernel/shm_rmid_forced": "1", "fs.mqueue.x": "1" },
    },
  });
  assert.equal(checkSandboxConfig(config), config);
});
