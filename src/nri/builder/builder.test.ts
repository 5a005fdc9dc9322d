import assert from "node:assert/strict";
import { describe, it } from "node:test";
import {
  type DescMessage,
  fromBinary,
  isFieldSet,
  type Message,
  toBinary,
} from "@bufbuild/protobuf";
import {
  ContainerAdjustmentSchema,
  ContainerUpdateSchema,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { toMessage, toPlain } from "../convert.ts";
import { seccomp } from "../testing/seccomp.ts";
import { type Adjustment, adjust } from "./adjustment.ts";
import type { ResourcesBuilder } from "./resources.ts";
import { evict, update } from "./update.ts";

/** All limits that there are. */
function limited<T extends ResourcesBuilder>(builder: T): T {
  return builder
    .memoryLimit(-1)
    .memoryReservation(2)
    .memorySwap(2n ** 63n - 1n)
    .kernelMemory(4)
    .kernelTcpMemory(5)
    .memorySwappiness(0)
    .disableOomKiller()
    .useHierarchy()
    .cpuShares(2)
    .cpuQuota(-1)
    .cpuPeriod(100_000)
    .cpuRealtimeRuntime(950_000)
    .cpuRealtimePeriod(1_000_000)
    .cpusetCpus("0-3,8")
    .cpusetMems("0")
    .pidsLimit(100)
    .hugepageLimit("2MB", 4 << 20)
    .blockioClass("slow")
    .rdtClass("gold")
    .unified("memory.high", "max")
    .deviceRule({ allow: true, type: "c", major: 10, minor: 229, access: "rw" })
    .deviceRule({ allow: false, type: "a", access: "rwm" });
}

const limits = {
  memory: {
    limit: -1n,
    reservation: 2n,
    swap: 2n ** 63n - 1n,
    kernel: 4n,
    kernelTcp: 5n,
    swappiness: 0n,
    disableOomKiller: true,
    useHierarchy: true,
  },
  cpu: {
    shares: 2n,
    quota: -1n,
    period: 100_000n,
    realtimeRuntime: 950_000n,
    realtimePeriod: 1_000_000n,
    cpus: "0-3,8",
    mems: "0",
  },
  hugepageLimits: [{ pageSize: "2MB", limit: 4n << 20n }],
  blockioClass: "slow",
  rdtClass: "gold",
  unified: { "memory.high": "max" },
  devices: [
    { allow: true, type: "c", major: 10n, minor: 229n, access: "rw" },
    { allow: false, type: "a", access: "rwm" },
  ],
  pids: { limit: 100n },
};

/** A builder with every field that an adjustment has. */
function everything(): Adjustment {
  return limited(adjust())
    .annotation("team", "blue")
    .removeAnnotation("old")
    .mount({ source: "/srv", destination: "/data", options: ["rbind", "ro"] })
    .mount({ source: "tmpfs", destination: "/scratch", type: "tmpfs" })
    .removeMount("/secret")
    .env("A", "b")
    .removeEnv("B")
    .args(["/bin/sh", "-c", ""], { override: true })
    .hooks({
      prestart: [hook],
      createRuntime: [hook],
      createContainer: [hook],
      startContainer: [hook],
      poststart: [hook],
      poststop: [{ path: "/bin/a" }, hook],
    })
    .rlimit("RLIMIT_NOFILE", { soft: 1024, hard: 4096 })
    .rlimit("RLIMIT_MEMLOCK", { soft: "unlimited", hard: "unlimited" })
    .device({
      path: "/dev/fuse",
      type: "c",
      major: 10,
      minor: 229,
      fileMode: 0o666,
      uid: 1,
      gid: 0,
    })
    .removeDevice("/dev/kmsg")
    .cdi("vendor.com/gpu=0")
    .namespace("network", "/run/netns/a")
    .namespace("cgroup")
    .removeNamespace("ipc")
    .sysctl("net.core.somaxconn", "256")
    .removeSysctl("kernel.shmmax")
    .netDevice("eth9", "net1")
    .netDevice("eth8")
    .removeNetDevice("eth7")
    .cgroupsPath("/kubepods/x")
    .oomScoreAdj(-1000)
    .ioPriority({ class: "IOPRIO_CLASS_BE", priority: 7 })
    .seccomp(seccomp)
    .scheduler({
      policy: "SCHED_RR",
      nice: -20,
      priority: 9,
      flags: ["SCHED_FLAG_RESET_ON_FORK"],
      runtime: 1,
      deadline: 2,
      period: 3n,
    })
    .memoryPolicy({ mode: "MPOL_INTERLEAVE", nodes: "0-1", flags: ["MPOL_F_STATIC_NODES"] })
    .removeRdt()
    .rdt({ closId: "gold", schemata: ["L3:0=ff"] })
    .rdt({ enableMonitoring: true });
}

const hook = { path: "/bin/b", args: ["b", "-v"], env: ["C=d"], timeoutSeconds: 3 };
const builtHook = { path: "/bin/b", args: ["b", "-v"], env: ["C=d"], timeout: 3n };

describe("adjust()", () => {
  it("sets every field, and the protocol carries it", () => {
    const built = everything().build();
    assert.deepEqual(built, {
      annotations: { team: "blue", "-old": "" },
      mounts: [
        { destination: "/data", type: "bind", source: "/srv", options: ["rbind", "ro"] },
        { destination: "/scratch", type: "tmpfs", source: "tmpfs", options: [] },
        { destination: "-/secret", type: "", source: "", options: [] },
      ],
      env: [
        { key: "A", value: "b" },
        { key: "-B", value: "" },
      ],
      hooks: {
        prestart: [builtHook],
        createRuntime: [builtHook],
        createContainer: [builtHook],
        startContainer: [builtHook],
        poststart: [builtHook],
        poststop: [{ path: "/bin/a", args: [], env: [] }, builtHook],
      },
      rlimits: [
        { type: "RLIMIT_NOFILE", hard: 4096n, soft: 1024n },
        { type: "RLIMIT_MEMLOCK", hard: 2n ** 64n - 1n, soft: 2n ** 64n - 1n },
      ],
      cdiDevices: [{ name: "vendor.com/gpu=0" }],
      args: ["", "/bin/sh", "-c", ""],
      linux: {
        devices: [
          {
            path: "/dev/fuse",
            type: "c",
            major: 10n,
            minor: 229n,
            fileMode: 0o666,
            uid: 1,
            gid: 0,
          },
          { path: "-/dev/kmsg", type: "", major: 0n, minor: 0n },
        ],
        resources: limits,
        cgroupsPath: "/kubepods/x",
        oomScoreAdj: -1000n,
        ioPriority: { class: "IOPRIO_CLASS_BE", priority: 7 },
        seccompPolicy: {
          ...seccomp,
          syscalls: [
            {
              ...seccomp.syscalls[0],
              args: [{ index: 1, value: 0xffffffffn, valueTwo: 7n, op: "SCMP_CMP_MASKED_EQ" }],
            },
          ],
        },
        namespaces: [
          { type: "network", path: "/run/netns/a" },
          { type: "cgroup", path: "" },
          { type: "-ipc", path: "" },
        ],
        sysctl: { "net.core.somaxconn": "256", "-kernel.shmmax": "" },
        netDevices: { eth9: { name: "net1" }, eth8: { name: "eth8" }, "-eth7": { name: "" } },
        scheduler: {
          policy: "SCHED_RR",
          nice: -20,
          priority: 9,
          flags: ["SCHED_FLAG_RESET_ON_FORK"],
          runtime: 1n,
          deadline: 2n,
          period: 3n,
        },
        rdt: { remove: true, closId: "gold", schemata: ["L3:0=ff"], enableMonitoring: true },
        memoryPolicy: { mode: "MPOL_INTERLEAVE", nodes: "0-1", flags: ["MPOL_F_STATIC_NODES"] },
      },
    });
    const bytes = toBinary(ContainerAdjustmentSchema, toMessage(ContainerAdjustmentSchema, built));
    const received = fromBinary(ContainerAdjustmentSchema, bytes);
    assert.deepEqual(toPlain(ContainerAdjustmentSchema, received), built);
  });

  it("leaves no field of the protocol out", () => {
    const message = toMessage(ContainerAdjustmentSchema, everything().build());
    assert.deepEqual(unset(ContainerAdjustmentSchema, [message]), []);
  });

  it("changes nothing by itself", () => {
    const empty = { annotations: {}, mounts: [], env: [], rlimits: [], cdiDevices: [], args: [] };
    assert.deepEqual(adjust().build(), empty);
  });

  it("gives plain values that later calls do not change", () => {
    const builder = adjust().env("A", "b");
    const built = builder.build();
    builder.env("C", "d").cpuShares(5);
    assert.equal(built.env.length, 1);
    assert.equal(built.linux, undefined);
  });

  it("sets arguments without override for the conflict between plugins", () => {
    assert.deepEqual(adjust().args(["a"]).build().args, ["a"]);
  });
});

describe("update() and evict()", () => {
  it("set every field, and the protocol carries it", () => {
    const built = limited(update("c1")).ignoreFailure().build();
    assert.deepEqual(built, {
      containerId: "c1",
      linux: { resources: limits },
      ignoreFailure: true,
    });
    assert.deepEqual(unset(ContainerUpdateSchema, [toMessage(ContainerUpdateSchema, built)]), []);
    assert.deepEqual(update("c1").build(), { containerId: "c1", ignoreFailure: false });
    assert.deepEqual(evict("c1", "noisy"), { containerId: "c1", reason: "noisy" });
  });

  it("need an id", () => {
    assert.throws(() => update(""), /update: expected text that is not empty/);
    assert.throws(() => evict("c1", ""), /evict: /);
  });
});

/** The fields that none of these messages of one type has, and those of the messages in them. */
function unset(schema: DescMessage, messages: readonly Message[]): readonly string[] {
  return schema.fields.flatMap((field) => {
    const having = messages.filter((message) => isFieldSet(message, field));
    if (having.length === 0) return [`${schema.name}.${field.name}`];
    // Zero is a value of an optional number, which is a message in the protocol.
    if (field.message === undefined || field.message.name.startsWith("Optional")) return [];
    const values = having.map((message) => (message as unknown as Values)[field.localName] ?? {});
    const inner =
      field.fieldKind === "message"
        ? values
        : values.flatMap((all) => Object.values(all) as unknown[]);
    return unset(field.message, inner as readonly Message[]);
  });
}

type Values = Record<string, object>;
