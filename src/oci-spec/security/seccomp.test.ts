import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import { defaultCapabilities, linuxCapabilities } from "./capabilities.ts";
import { specText } from "../json.ts";
import type { OciSyscallArg } from "../../core/oci/index.ts";
import { capabilitySyscalls, defaultSeccomp, type SeccompContext } from "./seccomp-default.ts";
import { parseSeccompProfile } from "./seccomp-profile.ts";
import { ordinarySyscalls } from "./seccomp-syscalls.ts";

const ordinary: SeccompContext = {
  capabilities: defaultCapabilities,
  arch: "x64",
  kernel: [6, 12],
  allowSocketcall: false,
};

function compares(arg: OciSyscallArg, actual: bigint): boolean {
  const value = BigInt(arg.value);
  switch (arg.op) {
    case "SCMP_CMP_NE":
      return actual !== value;
    case "SCMP_CMP_LT":
      return actual < value;
    case "SCMP_CMP_LE":
      return actual <= value;
    case "SCMP_CMP_EQ":
      return actual === value;
    case "SCMP_CMP_GE":
      return actual >= value;
    case "SCMP_CMP_GT":
      return actual > value;
    case "SCMP_CMP_MASKED_EQ":
      return (actual & value) === BigInt(arg.valueTwo ?? 0);
  }
}

/** What the filter answers, as libseccomp reads it: any rule whose arguments all compare. */
function answer(context: SeccompContext, name: string, firstArg = 0n): string {
  const profile = defaultSeccomp(context);
  const rule = profile.syscalls?.find(
    ({ names, args = [] }) => names.includes(name) && args.every((arg) => compares(arg, firstArg)),
  );
  const action = rule?.action ?? profile.defaultAction;
  const errno = rule === undefined ? profile.defaultErrnoRet : rule.errnoRet;
  return action === "SCMP_ACT_ALLOW" ? "allow" : `errno ${String(errno)}`;
}

describe("defaultSeccomp()", () => {
  test("answers EPERM to what opens a way to the node", () => {
    const denied =
      "mount umount2 pivot_root unshare setns bpf perf_event_open kexec_load kexec_file_load init_module finit_module delete_module reboot swapon swapoff add_key request_key keyctl userfaultfd io_uring_setup io_uring_enter io_uring_register open_by_handle_at acct settimeofday clock_settime iopl ioperm quotactl sethostname open_tree fsopen move_mount kcmp uselib ustat vhangup mbind";
    for (const name of denied.split(" ")) assert.equal(answer(ordinary, name), "errno 1", name);
    assert.equal(answer(ordinary, "a_syscall_of_tomorrow"), "errno 1");
  });

  test("allows what programs need, the newest too", () => {
    const allowed =
      "read openat execve futex rseq statx openat2 faccessat2 close_range epoll_pwait2 futex_waitv futex_wake landlock_create_ruleset cachestat fchmodat2 map_shadow_stack mseal statmount listmount lsm_get_self_attr getxattrat setxattrat file_getattr process_mrelease memfd_secret clock_gettime64 chroot arch_prctl ptrace";
    for (const name of allowed.split(" ")) assert.equal(answer(ordinary, name), "allow", name);
  });

  test("keeps namespaces out of clone, and sends clone3's callers to clone", () => {
    const sigchld = 17n;
    assert.equal(answer(ordinary, "clone", sigchld), "allow");
    assert.equal(answer(ordinary, "clone", 0x3d0f00n), "allow"); // pthread_create
    for (const flag of [0x20000n, 0x2000000n, 0x4000000n, 0x8000000n, 0x10000000n, 0x20000000n]) {
      assert.equal(answer(ordinary, "clone", flag | sigchld), "errno 1", flag.toString(16));
    }
    assert.equal(answer(ordinary, "clone", 0x40000000n), "errno 1");
    assert.equal(answer(ordinary, "clone3"), "errno 38");
    const admin = { ...ordinary, capabilities: ["CAP_SYS_ADMIN"] };
    assert.equal(answer(admin, "clone", 0x10000000n), "allow");
    assert.equal(answer(admin, "clone3"), "allow");
  });

  test("allows every socket family but AF_ALG and AF_VSOCK", () => {
    for (let family = 0n; family < 50n; family++) {
      const want = family === 38n || family === 40n ? "errno 1" : "allow";
      assert.equal(answer(ordinary, "socket", family), want, String(family));
    }
  });

  test("answers ENOSYS to socketcall unless it is allowed", () => {
    assert.equal(answer(ordinary, "socketcall"), "errno 38");
    assert.equal(answer({ ...ordinary, allowSocketcall: true }, "socketcall"), "allow");
  });

  test("has one comparison of an argument to a rule, which runc needs", () => {
    for (const { args = [] } of defaultSeccomp(ordinary).syscalls ?? []) {
      assert.ok(args.length <= 1);
    }
  });

  test("allows only harmless personalities", () => {
    for (const [value, want] of [
      [0n, "allow"],
      [8n, "allow"],
      [0x20000n, "allow"],
      [0x20008n, "allow"],
      [0xffffffffn, "allow"],
      [0x40000n, "errno 1"], // ADDR_NO_RANDOMIZE
      [0x400000n, "errno 1"], // READ_IMPLIES_EXEC
    ] as const) {
      assert.equal(answer(ordinary, "personality", value), want, value.toString(16));
    }
  });

  test("lets a syscall in with its capability, and never without", () => {
    for (const [capability, names] of Object.entries(capabilitySyscalls)) {
      assert.ok(linuxCapabilities.includes(capability), capability);
      const without = linuxCapabilities.filter((name) => name !== capability);
      for (const name of names) {
        assert.equal(answer({ ...ordinary, capabilities: [capability] }, name), "allow", name);
        const elsewhere = Object.entries(capabilitySyscalls).some(
          ([other, theirs]) => other !== capability && theirs.includes(name),
        );
        const tracing = ["ptrace", "process_vm_readv", "process_vm_writev"].includes(name);
        if (!elsewhere && !tracing) {
          assert.equal(answer({ ...ordinary, capabilities: without }, name), "errno 1", name);
        }
      }
    }
  });

  test("allows tracing from 4.8 on, before that with CAP_SYS_PTRACE", () => {
    assert.equal(answer({ ...ordinary, kernel: [4, 8] }, "ptrace"), "allow");
    assert.equal(answer({ ...ordinary, kernel: [4, 7] }, "ptrace"), "errno 1");
    const old: SeccompContext = { ...ordinary, kernel: [3, 10], capabilities: ["CAP_SYS_PTRACE"] };
    assert.equal(answer(old, "ptrace"), "allow");
  });

  test("filters all ABIs of the machine, and knows their own syscalls", () => {
    assert.deepEqual(defaultSeccomp(ordinary).architectures, [
      "SCMP_ARCH_X86_64",
      "SCMP_ARCH_X86",
      "SCMP_ARCH_X32",
    ]);
    const arm: SeccompContext = { ...ordinary, arch: "arm64" };
    assert.deepEqual(defaultSeccomp(arm).architectures, ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]);
    assert.equal(answer(arm, "set_tls"), "allow");
    assert.equal(answer(arm, "arch_prctl"), "errno 1");
    assert.equal(answer(ordinary, "set_tls"), "errno 1");
  });

  test("names no syscall both unconditionally and for a capability", () => {
    const forSome = Object.values(capabilitySyscalls).flat();
    assert.deepEqual(
      forSome.filter((name) => ordinarySyscalls.includes(name)),
      [],
    );
    assert.deepEqual([...new Set(ordinarySyscalls)].toSorted(), ordinarySyscalls);
  });
});

describe("parseSeccompProfile()", () => {
  test("parses what a spec has, to the last digit", () => {
    const profile = defaultSeccomp({ ...ordinary, capabilities: linuxCapabilities });
    assert.deepEqual(parseSeccompProfile(JSON.stringify(profile), "/p"), profile);
    const exact = parseSeccompProfile(
      '{"defaultAction":"SCMP_ACT_LOG","flags":["SECCOMP_FILTER_FLAG_LOG"],"listenerPath":"/s","syscalls":[{"names":["a"],"action":"SCMP_ACT_ERRNO","errnoRet":5,"args":[{"index":5,"value":18446744073709551615,"op":"SCMP_CMP_EQ"}]}],"archMap":[]}',
      "/p",
    );
    assert.deepEqual(exact, {
      defaultAction: "SCMP_ACT_LOG",
      flags: ["SECCOMP_FILTER_FLAG_LOG"],
      listenerPath: "/s",
      syscalls: [
        {
          names: ["a"],
          action: "SCMP_ACT_ERRNO",
          errnoRet: 5,
          args: [{ index: 5, value: 18446744073709551615n, op: "SCMP_CMP_EQ" }],
        },
      ],
    });
    assert.match(specText({ seccomp: exact } as never), /"value":18446744073709551615,/);
  });

  test("refuses an invalid profile, naming file and field", () => {
    const rule = (text: string): string =>
      `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["a"],"action":"SCMP_ACT_LOG",${text}}]}`;
    const bad: readonly (readonly [string, RegExp])[] = [
      ["", /"\/p": it is not JSON/],
      ["[]", /it is not an object/],
      ["{}", /defaultAction must be one of/],
      ['{"defaultAction":"ALLOW"}', /got "ALLOW"/],
      ['{"defaultAction":"SCMP_ACT_LOG","syscalls":{}}', /syscalls is not a list/],
      ['{"defaultAction":"SCMP_ACT_LOG","syscalls":[{"action":"SCMP_ACT_LOG"}]}', /has no names/],
      ['{"defaultAction":"SCMP_ACT_LOG","architectures":[1]}', /architectures holds/],
      [rule('"args":[{"index":6,"value":0,"op":"SCMP_CMP_EQ"}]'), /index must be 0 to 5/],
      [rule('"args":[{"index":0,"value":-1,"op":"SCMP_CMP_EQ"}]'), /value is not a number/],
      [rule('"args":[{"index":0,"value":18446744073709551616,"op":"SCMP_CMP_EQ"}]'), /64 bits/],
      [rule('"args":[{"index":0,"value":1,"op":"EQ"}]'), /op must be one of/],
      [rule('"includes":{"caps":["CAP_SYS_ADMIN"]}'), /"includes" is of Docker's form/],
    ];
    for (const [text, why] of bad) {
      assert.throws(
        () => parseSeccompProfile(text, "/p"),
        (error) => isKind(error, "invalid-argument") && why.test(String(error)),
        text,
      );
    }
    assert.doesNotThrow(() => parseSeccompProfile(rule('"includes":{},"excludes":{}'), "/p"));
  });
});
