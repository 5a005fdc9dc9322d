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

const seccomp = {
  defaultAction: "SCMP_ACT_ERRNO",
  defaultErrno: 38,
  architectures: ["SCMP_ARCH_X86_64"],
  flags: ["SECCOMP_FILTER_FLAG_LOG"],
  listenerPath: "/run/agent.sock",
  listenerMetadata: "pod",
  syscalls: [
    {
      names: ["personality"],
      action: "SCMP_ACT_ALLOW",
      errnoRet: 1,
      args: [{ index: 1, value: 0xffffffff, valueTwo: 7, op: "SCMP_CMP_MASKED_EQ" }],
    },
  ],
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

  const refused: readonly (readonly [
    name: string,
    set: (to: Adjustment) => unknown,
    reason: RegExp,
  ])[] = [
    [
      "an annotation that means a removal",
      (to) => to.annotation("-a", ""),
      /annotation: .*begin with "-"/,
    ],
    [
      "a variable with =",
      (to) => to.env("A=b", "c"),
      /env: expected a name without "=", got "A=b"/,
    ],
    ["a variable without a name", (to) => to.env("", "c"), /env: expected text that is not empty/],
    ["NUL", (to) => to.env("A", "b\0"), /env: expected text without NUL/],
    ["a value that is not text", (to) => to.env("A", 5 as never), /env: expected text.*got 5/],
    [
      "a relative mount",
      (to) => to.mount({ source: "/a", destination: "b" }),
      /mount: destination: expected an absolute path, got "b"/,
    ],
    ["no command", (to) => to.args([]), /args: the command: /],
    [
      "an unknown kind of hook",
      (to) => to.hooks({ before: [] } as never),
      /hooks: "before" is not one of prestart/,
    ],
    [
      "a relative hook",
      (to) => to.hooks({ poststop: [{ path: "sh" }] }),
      /hooks: poststop: path: expected an absolute/,
    ],
    [
      "an unknown limit",
      (to) => to.rlimit("NOFILE" as never, { soft: 1, hard: 1 }),
      /rlimit: "NOFILE" is not one of RLIMIT_AS/,
    ],
    [
      "soft above hard",
      (to) => to.rlimit("RLIMIT_CORE", { soft: 2, hard: 1 }),
      /RLIMIT_CORE: soft: expected at most the hard limit 1, got 2/,
    ],
    ["a fraction", (to) => to.memoryLimit(1.5), /memoryLimit: expected a whole number from -1 to/],
    ["an inexact number", (to) => to.memoryLimit(2 ** 60), /\(a bigint\)/],
    ["too many shares", (to) => to.cpuShares(262_145), /cpuShares: .*from 2 to 262144, got 262145/],
    ["a short period", (to) => to.cpuPeriod(1), /cpuPeriod: /],
    [
      "a list of CPUs",
      (to) => to.cpusetCpus("0-"),
      /cpusetCpus: expected a list such as "0-3,8", got "0-"/,
    ],
    ["a size of pages", (to) => to.hugepageLimit("2M", 1), /a size such as "2MB"/],
    [
      "a path as a file of cgroup v2",
      (to) => to.unified("../memory.max", "1"),
      /unified: expected a file/,
    ],
    [
      "a rule for all devices with numbers",
      (to) => to.deviceRule({ allow: true, type: "a", major: 1, access: "r" }),
      /deviceRule with numbers/,
    ],
    [
      "access of a device",
      (to) => to.deviceRule({ allow: true, type: "c", access: "x" }),
      /deviceRule: expected some of/,
    ],
    [
      "the type of a device",
      (to) => to.device({ path: "/dev/a", type: "d" as never }),
      /device \/dev\/a: type: "d" is not one of/,
    ],
    [
      "the mode of a device",
      (to) => to.device({ path: "/dev/a", type: "c", fileMode: 0o10000 }),
      /fileMode: /,
    ],
    ["a CDI name", (to) => to.cdi("gpu0"), /vendor.com\/class=device/],
    [
      "a namespace",
      (to) => to.namespace("net" as never),
      /namespace: "net" is not one of pid, network/,
    ],
    ["a sysctl", (to) => to.sysctl("somaxconn", "1"), /net.core.somaxconn/],
    ["a network device", (to) => to.netDevice("a-name-of-16-char"), /at most 15 characters/],
    ["an OOM score", (to) => to.oomScoreAdj(1001), /from -1000 to 1000/],
    [
      "an I/O priority",
      (to) => to.ioPriority({ class: "IOPRIO_CLASS_BE", priority: 8 }),
      /from 0 to 7/,
    ],
    [
      "a priority without realtime",
      (to) => to.scheduler({ policy: "SCHED_OTHER", priority: 1 }),
      /0 for SCHED_OTHER/,
    ],
    [
      "a deadline without a runtime",
      (to) => to.scheduler({ policy: "SCHED_DEADLINE" }),
      /a time for SCHED_DEADLINE/,
    ],
    [
      "nodes of a policy without some",
      (to) => to.memoryPolicy({ mode: "MPOL_LOCAL", nodes: "0" }),
      /none for MPOL_LOCAL/,
    ],
    [
      "a policy that needs nodes",
      (to) => to.memoryPolicy({ mode: "MPOL_BIND" }),
      /memoryPolicy: nodes/,
    ],
    ["an action of seccomp", (to) => to.seccomp({ defaultAction: "ERRNO" }), /SCMP_ACT_ERRNO/],
    [
      "a rule of seccomp for nothing",
      (to) => to.seccomp({ ...seccomp, syscalls: [{ names: [], action: "SCMP_ACT_LOG" }] }),
      /at least one system call/,
    ],
  ];
  for (const [name, set, reason] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(
        () => set(adjust()),
        (error: unknown) => {
          assert.ok(error instanceof TypeError);
          assert.match(error.message, reason);
          return true;
        },
      );
    });
  }
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
