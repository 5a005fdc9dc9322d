import assert from "node:assert/strict";
import { test } from "node:test";
import type { OciSeccomp } from "../../core/oci/index.ts";
import { askedNotifier } from "./notifier-annotations.ts";
import { defaultSeccomp } from "./seccomp-default.ts";
import { parseNotifierMetadata, withNotifier } from "./seccomp-notify.ts";
import { syscallName, syscallNames } from "./syscall-numbers.ts";

const x64 = 0xc000_003e;
const x86 = 0x4000_0003;
const arm64 = 0xc000_00b7;

function notified(profile: OciSeccomp): readonly string[] {
  const { syscalls = [] } = withNotifier(profile, "log", "/run/s");
  return syscalls.flatMap(({ action, names }) => (action === "SCMP_ACT_NOTIFY" ? names : []));
}

test("syscallName() knows the numbers of each ABI", () => {
  assert.equal(syscallName(x64, 0), "read");
  assert.equal(syscallName(x64, 272), "unshare");
  assert.equal(syscallName(x64, 435), "clone3");
  assert.equal(syscallName(x64, 0x4000_0000 + 165), "mount");
  assert.equal(syscallName(x86, 310), "unshare");
  assert.equal(syscallName(arm64, 97), "unshare");
  assert.equal(syscallName(x64, 9999), "#9999");
  assert.equal(syscallName(0x4000_0028, 3), "#3");
  assert.ok(syscallNames().size > 400 && syscallNames().size < 600);
});

test("withNotifier() reports what the default profile denies, and not its answers of ENOSYS", () => {
  const profile = defaultSeccomp({
    capabilities: [],
    arch: "x64",
    kernel: [6, 1],
    allowSocketcall: false,
  });
  const names = notified(profile);
  for (const name of ["mount", "unshare", "bpf", "init_module"])
    assert.ok(names.includes(name), name);
  for (const name of ["read", "clone3", "socketcall", "clone", "socket"]) {
    assert.ok(!names.includes(name), name);
  }
  const { listenerPath, listenerMetadata, defaultAction } = withNotifier(profile, "stop", "/run/s");
  assert.deepEqual([listenerPath, defaultAction], ["/run/s", "SCMP_ACT_ERRNO"]);
  const read = parseNotifierMetadata(listenerMetadata);
  assert.deepEqual(read, { action: "stop", errno: 1, errnos: {} });
});

test("withNotifier() keeps the errno of each rule, and what it cannot or must not report", () => {
  const profile: OciSeccomp = {
    defaultAction: "SCMP_ACT_ALLOW",
    syscalls: [
      { names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 13 },
      {
        names: ["chmod"],
        action: "SCMP_ACT_ERRNO",
        args: [{ index: 1, value: 7, op: "SCMP_CMP_EQ" }],
      },
      { names: ["write", "pwrite64"], action: "SCMP_ACT_ERRNO" },
      { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: 38 },
      { names: ["reboot"], action: "SCMP_ACT_KILL_PROCESS" },
    ],
  };
  const { syscalls = [], listenerMetadata } = withNotifier(profile, "log", "/run/s");
  assert.deepEqual(syscalls.slice(2), profile.syscalls?.slice(2));
  assert.deepEqual(syscalls.slice(0, 2), [
    { names: ["mkdir"], action: "SCMP_ACT_NOTIFY" },
    { names: ["chmod"], action: "SCMP_ACT_NOTIFY", args: profile.syscalls?.[1]?.args },
  ]);
  assert.deepEqual(parseNotifierMetadata(listenerMetadata), {
    action: "log",
    errno: 1,
    errnos: { mkdir: 13 },
  });
  assert.equal(notified({ defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 38 }).length, 0);
});

test("parseNotifierMetadata() denies with EPERM what it cannot read", () => {
  for (const text of [undefined, "", "7", "null", '{"errno":0}', '{"errno":"x"}']) {
    const { action, errno } = parseNotifierMetadata(text);
    assert.deepEqual([action, errno], ["log", 1], text);
  }
});

test("askedNotifier() takes both names of CRI-O, the newer one first", () => {
  assert.equal(askedNotifier({}), undefined);
  assert.equal(askedNotifier({ "seccomp-notifier-action.crio.io": "" }), "log");
  assert.equal(askedNotifier({ "io.kubernetes.cri-o.seccompNotifierAction": "stop" }), "stop");
});
