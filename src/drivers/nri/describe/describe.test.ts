import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import type { Container, ContainerState } from "../../../core/container/index.ts";
import type { OciSpec } from "../../../core/oci/index.ts";
import type { Sandbox } from "../../../core/sandbox/index.ts";
import {
  ContainerAdjustmentSchema,
  ContainerState as PluginState,
} from "../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import {
  ContainerConfigSchema,
  LinuxContainerResourcesSchema,
  PodSandboxConfigSchema,
  UpdatePodSandboxResourcesRequestSchema,
} from "../../../gen/runtime/v1/api_pb.ts";
import { describeContainer, describePod, messages } from "./index.ts";

const metadata = { name: "web", namespace: "default", uid: "uid-1", attempt: 0 };

function sandboxOf(changes: Partial<Sandbox> = {}): Sandbox {
  return {
    id: "pod1",
    name: "web_default_uid-1_0",
    requestBytes: new Uint8Array(),
    config: create(PodSandboxConfigSchema, {
      metadata,
      labels: { app: "web" },
      annotations: { note: "me", "io.kubernetes.cri.sandbox-id": "another" },
      linux: {
        cgroupParent: "/kubepods/pod1",
        overhead: { memoryLimitInBytes: 5n },
        resources: { cpuShares: 100n },
      },
    }),
    handler: { name: "crun", controller: "podsandbox" } as Sandbox["handler"],
    createdAtNs: 1n,
    bootId: "boot",
    state: { name: "ready" },
    cgroup: { parent: "/kubepods/pod1", ownedFrom: undefined },
    process: { pid: 77, startTime: "1" },
    network: { ips: ["10.0.0.2", "fd00::2"], result: "{}" },
    ...changes,
  };
}

const environment = { pins: { net: "/run/ns/net/pod1", ipc: "/run/ns/ipc/pod1" }, files: {} };

test("describePod() has what plugins read", () => {
  const told = describePod(sandboxOf(), environment);
  assert.partialDeepStrictEqual(told, {
    id: "pod1",
    name: "web",
    namespace: "default",
    uid: "uid-1",
    labels: { app: "web" },
    annotations: {
      note: "me",
      "io.kubernetes.cri.container-type": "sandbox",
      "io.kubernetes.cri.sandbox-id": "pod1",
    },
    runtimeHandler: "crun",
    pid: 77,
    ips: ["10.0.0.2", "fd00::2"],
    linux: {
      cgroupParent: "/kubepods/pod1",
      cgroupsPath: "/kubepods/pod1/pod1",
      podOverhead: { memory: { limit: { value: 5n } } },
      podResources: { cpu: { shares: { value: 100n }, quota: { value: 0n } } },
    },
  });
  assert.deepEqual(
    told.linux?.namespaces.map(({ type, path }) => `${type} ${path}`),
    ["ipc /run/ns/ipc/pod1", "network /run/ns/net/pod1"],
  );
});

test("describePod() has the resources of the last update, and no namespaces of a stopped pod", () => {
  const update = create(UpdatePodSandboxResourcesRequestSchema, { resources: { cpuShares: 7n } });
  const resourcesBytes = toBinary(UpdatePodSandboxResourcesRequestSchema, update);
  const stopped = sandboxOf({ resourcesBytes, state: { name: "stopped", atNs: 1n } });
  const { linux } = describePod(stopped, environment);
  assert.equal(linux?.podResources?.cpu?.shares?.value, 7n);
  assert.equal(linux.podOverhead?.memory?.limit?.value, 5n);
  assert.deepEqual(linux.namespaces, []);
});

const spec: OciSpec = {
  ociVersion: "1.1.0",
  root: { path: "/root" },
  process: {
    user: { uid: 1, gid: 2, additionalGids: [3] },
    args: ["sleep", "1"],
    env: ["A=b"],
    cwd: "/",
    capabilities: { bounding: [], effective: [], permitted: [] },
    oomScoreAdj: -5,
    rlimits: [{ type: "RLIMIT_NOFILE", hard: 2n, soft: 1n }],
    scheduler: { policy: "SCHED_FIFO", priority: 4, flags: ["SCHED_FLAG_RESET_ON_FORK"] },
    ioPriority: { class: "IOPRIO_CLASS_BE", priority: 3 },
  },
  mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid"] }],
  annotations: { "io.kubernetes.cri.container-name": "app", note: "of the spec" },
  hooks: { poststop: [{ path: "/bin/true", args: ["true"], timeout: 5 }] },
  linux: {
    namespaces: [{ type: "mount" }, { type: "network", path: "/run/ns/net/pod1" }],
    cgroupsPath: "/kubepods/pod1/ctr1",
    resources: {
      cpu: { shares: 100n, cpus: "0-1" },
      memory: { limit: 64n, swappiness: 10n },
      pids: { limit: 9n },
      hugepageLimits: [{ pageSize: "2MB", limit: 1n }],
      unified: { "memory.high": "5" },
      devices: [{ allow: true, type: "c", major: 1, minor: 3, access: "rw" }],
    },
    devices: [
      { path: "/dev/null", type: "c", major: 1, minor: 3, fileMode: 0o666, uid: 0, gid: 0 },
    ],
    seccomp: {
      defaultAction: "SCMP_ACT_ERRNO",
      syscalls: [
        {
          names: ["read"],
          action: "SCMP_ACT_ALLOW",
          args: [{ index: 0, value: 1, op: "SCMP_CMP_EQ" }],
        },
      ],
    },
    sysctl: { "net.core.somaxconn": "1" },
    netDevices: { eth1: { name: "net0" } },
    intelRdt: { closID: "gold", schemata: ["MB:0=50"], enableMonitoring: true },
  },
};

function containerOf(state: ContainerState): Container {
  return {
    id: "ctr1",
    sandboxId: "pod1",
    config: create(ContainerConfigSchema, {
      metadata: { name: "app", attempt: 1 },
      labels: { tier: "front" },
      annotations: { note: "of the client" },
      CDIDevices: [{ name: "vendor.com/gpu=0" }],
      linux: { securityContext: { seccomp: { profileType: 2, localhostRef: "/p.json" } } },
    }),
    createdAtNs: 5n,
    image: {
      id: "sha256:c",
      shown: "docker.io/library/app:1",
      ref: "docker.io/library/app@sha256:d",
    },
    state,
  } as unknown as Container;
}

test("describeContainer() has what plugins read of its spec, its record and its state", async () => {
  const process = { pid: 42, startTime: "1" };
  const container = containerOf({ name: "running", startedAtNs: 6n, process, monitor: undefined });
  const of = { container, sandbox: sandboxOf(), spec: () => Promise.resolve(spec) };
  assert.partialDeepStrictEqual(await describeContainer(of), {
    id: "ctr1",
    podSandboxId: "pod1",
    name: "app",
    state: PluginState.CONTAINER_RUNNING,
    labels: { tier: "front" },
    annotations: { "io.kubernetes.cri.container-name": "app", note: "of the client" },
    args: ["sleep", "1"],
    env: ["A=b"],
    mounts: [{ destination: "/proc", type: "proc", source: "proc", options: ["nosuid"] }],
    hooks: { poststop: [{ path: "/bin/true", args: ["true"], timeout: { value: 5n } }] },
    pid: 42,
    createdAt: 5n,
    startedAt: 6n,
    rlimits: [{ type: "RLIMIT_NOFILE", hard: 2n, soft: 1n }],
    CDIDevices: [{ name: "vendor.com/gpu=0" }],
    user: { uid: 1, gid: 2, additionalGids: [3] },
    image: { name: "docker.io/library/app:1", digest: "sha256:d", configDigest: "sha256:c" },
    linux: {
      namespaces: [{ type: "mount", path: "" }, { type: "network" }],
      devices: [{ path: "/dev/null", major: 1n, minor: 3n, fileMode: { value: 0o666 } }],
      resources: {
        cpu: { shares: { value: 100n }, cpus: "0-1" },
        memory: { limit: { value: 64n }, swappiness: { value: 10n } },
        pids: { limit: 9n },
        hugepageLimits: [{ pageSize: "2MB", limit: 1n }],
        unified: { "memory.high": "5" },
        devices: [{ allow: true, type: "c", major: { value: 1n }, access: "rw" }],
      },
      oomScoreAdj: { value: -5n },
      cgroupsPath: "/kubepods/pod1/ctr1",
      ioPriority: { class: 2, priority: 3 },
      scheduler: { policy: 2, priority: 4, flags: [0] },
      seccompProfile: { profileType: 2, localhostRef: "/p.json" },
      seccompPolicy: {
        defaultAction: "SCMP_ACT_ERRNO",
        syscalls: [{ names: ["read"], args: [{ index: 0, value: 1n, valueTwo: 0n }] }],
      },
      sysctl: { "net.core.somaxconn": "1" },
      netDevices: { eth1: { name: "net0" } },
      rdt: { closId: { value: "gold" }, schemata: { value: ["MB:0=50"] } },
    },
  });
});

test("describeContainer() has how a container ended, also without its spec", async () => {
  const container = containerOf({
    name: "exited",
    startedAtNs: 6n,
    finishedAtNs: 7n,
    exitCode: 3,
    reason: "Error",
    message: "why",
  });
  const of = { container, sandbox: sandboxOf(), spec: () => Promise.resolve(undefined) };
  assert.partialDeepStrictEqual(await describeContainer(of), {
    state: PluginState.CONTAINER_STOPPED,
    startedAt: 6n,
    finishedAt: 7n,
    exitCode: 3,
    statusReason: "Error",
    statusMessage: "why",
    args: [],
    pid: 0,
  });
});

test("messages.divideAdjustment() takes the resources of the CRI out, and keeps the rest", () => {
  const adjustment = create(ContainerAdjustmentSchema, {
    linux: {
      oomScoreAdj: { value: 5n },
      resources: {
        cpu: { shares: { value: 5n }, realtimePeriod: { value: 6n } },
        memory: { limit: { value: 7n }, reservation: { value: 8n } },
        hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
        unified: { "memory.high": "5" },
        rdtClass: { value: "gold" },
      },
    },
  });
  const { resources, rest } = messages.divideAdjustment(adjustment);
  const wanted = {
    cpuShares: 5n,
    memoryLimitInBytes: 7n,
    hugepageLimits: [{ pageSize: "2MB", limit: 0n }],
    unified: { "memory.high": "5" },
  };
  assert.deepEqual(resources, create(LinuxContainerResourcesSchema, wanted));
  const left = {
    linux: {
      oomScoreAdj: { value: 5n },
      resources: {
        cpu: { realtimePeriod: { value: 6n } },
        memory: { reservation: { value: 8n } },
        rdtClass: { value: "gold" },
      },
    },
  };
  const bytes = toBinary(ContainerAdjustmentSchema, create(ContainerAdjustmentSchema, left));
  assert.deepEqual(rest, bytes);
});

test("messages.divideAdjustment() has nothing for an empty adjustment, and rejects a huge one", () => {
  const empty = messages.divideAdjustment(create(ContainerAdjustmentSchema, { linux: {} }));
  assert.equal(empty.resources, undefined);
  const env = [{ key: "A", value: "x".repeat(2 ** 20) }];
  assert.throws(
    () => messages.divideAdjustment(create(ContainerAdjustmentSchema, { env })),
    /the limit is 1048576/,
  );
});

test("messages convert resources of the CRI there and back", () => {
  const resources = create(LinuxContainerResourcesSchema, {
    cpuShares: 1n,
    cpuQuota: -1n,
    cpuPeriod: 2n,
    cpusetCpus: "0",
    cpusetMems: "1",
    memoryLimitInBytes: 3n,
    memorySwapLimitInBytes: 4n,
    hugepageLimits: [{ pageSize: "2MB", limit: 5n }],
    unified: { "memory.high": "5" },
  });
  assert.deepEqual(messages.criResources(messages.pluginResources(resources)), resources);
});
