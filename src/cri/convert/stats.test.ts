import assert from "node:assert/strict";
import { create, fromBinary, toJson } from "@bufbuild/protobuf";
import { test } from "node:test";

import type { Container } from "../../core/container/index.ts";
import type { Sandbox } from "../../core/sandbox/index.ts";
import type { ContainerStats, ResourceUsage } from "../../core/stats/index.ts";
import {
  ContainerConfigSchema,
  ContainerStatsSchema,
  PodSandboxConfigSchema,
  PodSandboxStatsSchema,
} from "../../gen/runtime/v1/api_pb.ts";
import { encodedContainerStats, encodedPodStats } from "./stats.ts";

const container = {
  id: "c1abc",
  sandboxId: "p1abc",
  config: create(ContainerConfigSchema, {
    metadata: { name: "web", attempt: 2 },
    labels: { app: "a" },
    annotations: { note: "n" },
  }),
} as unknown as Container;
const sandbox = {
  id: "p1abc",
  state: { name: "ready" },
  config: create(PodSandboxConfigSchema, { metadata: { name: "pod" }, labels: { app: "a" } }),
} as unknown as Sandbox;

const pressure = {
  some: { totalNs: 7000n, avg10: 1.5, avg60: 0.25, avg300: 0 },
  full: undefined,
};
const resources: ResourceUsage = {
  takenAtNs: 123n,
  cpu: { usageNs: 5n, usageNanoCores: undefined, pressure },
  memory: {
    usage: 9n,
    workingSet: 8n,
    available: undefined,
    rss: 0n,
    pageFaults: 6n,
    majorPageFaults: 0n,
    pressure: undefined,
  },
  swap: { usage: 0n, available: 4n },
  ioPressure: pressure,
  tasks: 3n,
};
const stats: ContainerStats = {
  resources,
  writableLayer: { takenAtNs: 99n, mountpoint: "/var/lib/davit", bytes: 4096n, inodes: 2n },
};

test("encodedContainerStats() says what is known, and leaves out what is not", () => {
  const message = fromBinary(ContainerStatsSchema, encodedContainerStats({ container, stats }));
  const psi = { Some: { Total: "7000", Avg10: 1.5, Avg60: 0.25 } };
  // 64-bit numbers are texts in the JSON of protobuf, and zeros of plain fields are left out.
  assert.deepEqual(toJson(ContainerStatsSchema, message), {
    attributes: {
      id: "c1abc",
      metadata: { name: "web", attempt: 2 },
      labels: { app: "a" },
      annotations: { note: "n" },
    },
    cpu: { timestamp: "123", usageCoreNanoSeconds: { value: "5" }, psi },
    memory: {
      timestamp: "123",
      workingSetBytes: { value: "8" },
      usageBytes: { value: "9" },
      rssBytes: {},
      pageFaults: { value: "6" },
      majorPageFaults: {},
    },
    swap: { timestamp: "123", swapAvailableBytes: { value: "4" }, swapUsageBytes: {} },
    io: { timestamp: "123", psi },
    writableLayer: {
      timestamp: "99",
      fsId: { mountpoint: "/var/lib/davit" },
      usedBytes: { value: "4096" },
      inodesUsed: { value: "2" },
    },
  });
});

test("encodedContainerStats() gives a container that does not run its attributes", () => {
  const none = { resources: undefined, writableLayer: undefined };
  const message = fromBinary(
    ContainerStatsSchema,
    encodedContainerStats({ container, stats: none }),
  );
  assert.equal(message.attributes?.metadata?.name, "web");
  for (const part of ["cpu", "memory", "swap", "io", "writableLayer"] as const) {
    assert.equal(message[part], undefined, part);
  }
});

const counters = {
  rxBytes: 1n,
  rxPackets: 5n,
  rxErrors: 2n,
  rxDropped: 6n,
  txBytes: 3n,
  txPackets: 7n,
  txErrors: 4n,
  txDropped: 8n,
};

test("encodedPodStats() has the pod's own use, its network and its containers", () => {
  const interfaces = ["net1", "eth0", "net2"].map((name) => ({ name, ...counters }));
  const network = { takenAtNs: 124n, interfaces };
  const one = { container, stats };
  const bytes = encodedPodStats({
    sandbox,
    stats: { resources, network },
    containers: [one, one],
  });
  const message = fromBinary(PodSandboxStatsSchema, bytes);
  assert.equal(message.attributes?.metadata?.name, "pod");
  const { linux } = message;
  assert.equal(linux?.cpu?.usageCoreNanoSeconds?.value, 5n);
  assert.equal(linux.memory?.usageBytes?.value, 9n);
  assert.equal(linux.process?.processCount?.value, 3n);
  assert.equal(linux.io?.timestamp, 123n);
  assert.deepEqual(
    linux.containers.map(({ attributes }) => attributes?.id),
    ["c1abc", "c1abc"],
  );
  assert.equal(linux.network?.timestamp, 124n);
  assert.equal(linux.network.defaultInterface?.name, "eth0");
  assert.equal(linux.network.defaultInterface.txErrors?.value, 4n);
  assert.deepEqual(
    linux.network.interfaces.map(({ name }) => name),
    ["net1", "net2"],
  );
});

test("encodedPodStats() has no network without an interface: kubelet needs a default one", () => {
  const network = { takenAtNs: 124n, interfaces: [] };
  const bytes = encodedPodStats({
    sandbox,
    stats: { resources: undefined, network },
    containers: [],
  });
  const { linux } = fromBinary(PodSandboxStatsSchema, bytes);
  assert.ok(linux !== undefined);
  assert.equal(linux.network, undefined);
  assert.equal(linux.cpu, undefined);
  const first = { takenAtNs: 1n, interfaces: [{ name: "net7", ...counters }] };
  const other = encodedPodStats({
    sandbox,
    stats: { resources: undefined, network: first },
    containers: [],
  });
  const decoded = fromBinary(PodSandboxStatsSchema, other).linux?.network;
  assert.equal(decoded?.defaultInterface?.name, "net7");
});
