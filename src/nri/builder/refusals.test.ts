import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { seccomp } from "../testing/seccomp.ts";
import { type Adjustment, adjust } from "./adjustment.ts";

describe("adjust()", () => {
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
