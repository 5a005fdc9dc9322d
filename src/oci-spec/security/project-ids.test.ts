import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { isKind } from "../../base/errors.ts";
import type { OciSeccomp, OciSeccompAction, OciSyscallArg } from "../../core/oci/index.ts";
import { containerSpec } from "../generate.ts";
import { specInput } from "../testing/spec-input.ts";
import { denyProjectChange } from "./project-ids.ts";

const fsSetXattr = 0x401c_5820n;
const setFlags = [0x4008_6602n, 0x4004_6602n];
const high = 1n << 32n;

/** What a filter of this profile does with a call, as libseccomp: a rule holds when all of its comparisons do. */
function actionOf(profile: OciSeccomp, name: string, args: readonly bigint[]): OciSeccompAction {
  const holds = ({ index, value, valueTwo = 0, op }: OciSyscallArg): boolean => {
    const [is, wanted] = [args[index] ?? 0n, BigInt(value)];
    if (op === "SCMP_CMP_MASKED_EQ") return (is & wanted) === BigInt(valueTwo);
    assert.equal(op, "SCMP_CMP_EQ");
    return is === wanted;
  };
  const rules = (profile.syscalls ?? []).filter(
    (rule) => rule.names.includes(name) && (rule.args ?? []).every(holds),
  );
  const actions = new Set(rules.map(({ action }) => action));
  assert.ok(actions.size <= 1, `rules contradict each other for ${name} ${args.join()}`);
  return rules[0]?.action ?? profile.defaultAction;
}

function assertDenied(profile: OciSeccomp): void {
  for (const request of [fsSetXattr, ...setFlags]) {
    for (const sent of [request, request + high, request + 0xffff_ffff_0000_0000n]) {
      assert.equal(actionOf(profile, "ioctl", [3n, sent]), "SCMP_ACT_ERRNO", sent.toString(16));
    }
  }
  assert.equal(actionOf(profile, "file_setattr", []), "SCMP_ACT_ERRNO");
}

describe("denyProjectChange()", () => {
  const allowing = (...names: readonly string[]): OciSeccomp => ({
    defaultAction: "SCMP_ACT_ERRNO",
    syscalls: [{ names, action: "SCMP_ACT_ALLOW" }],
  });

  test("denies the requests in a profile that allows ioctl, and no other request", () => {
    const profile = denyProjectChange(allowing("read", "ioctl", "file_setattr"), "x64");
    assertDenied(profile);
    assert.equal(actionOf(profile, "read", []), "SCMP_ACT_ALLOW");
    for (const request of [fsSetXattr, ...setFlags]) {
      for (let bit = 0n; bit < 32n; bit++) {
        const other = request ^ (1n << bit);
        const isDenied = [fsSetXattr, ...setFlags].includes(other);
        const expected = isDenied ? "SCMP_ACT_ERRNO" : "SCMP_ACT_ALLOW";
        assert.equal(actionOf(profile, "ioctl", [3n, other]), expected, other.toString(16));
      }
    }
    for (const request of [0n, 0x5401n, 0x8010_6601n, 0xffff_ffffn, 0x801c_581fn]) {
      assert.equal(actionOf(profile, "ioctl", [3n, request]), "SCMP_ACT_ALLOW");
    }
  });

  test("denies them without a profile, and in one that allows what it does not name", () => {
    const none = denyProjectChange(undefined, "x64");
    assertDenied(none);
    assert.ok(none.architectures?.includes("SCMP_ARCH_X86"));
    const open: OciSeccomp = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [
        { names: ["reboot"], action: "SCMP_ACT_ERRNO" },
        { names: ["ioctl"], action: "SCMP_ACT_ALLOW" },
        { names: ["ioctl", "write"], action: "SCMP_ACT_LOG" },
      ],
    };
    const profile = denyProjectChange(
      { ...open, syscalls: open.syscalls?.slice(0, 2) ?? [] },
      "x64",
    );
    assertDenied(profile);
    assert.equal(actionOf(profile, "reboot", []), "SCMP_ACT_ERRNO");
    assert.equal(actionOf(profile, "ioctl", [3n, 0x5401n]), "SCMP_ACT_ALLOW");
    const logging = denyProjectChange(open, "x64");
    assertDenied(logging);
    assert.equal(actionOf(logging, "write", []), "SCMP_ACT_LOG");
  });

  test("combines with the comparisons of a profile, or refuses them", () => {
    const comparing = (op: OciSyscallArg["op"], value: number, index = 1): OciSeccomp => ({
      defaultAction: "SCMP_ACT_ERRNO",
      syscalls: [{ names: ["ioctl"], action: "SCMP_ACT_ALLOW", args: [{ index, value, op }] }],
    });
    const terminal = denyProjectChange(comparing("SCMP_CMP_EQ", 0x5401), "x64");
    assert.equal(actionOf(terminal, "ioctl", [0n, 0x5401n]), "SCMP_ACT_ALLOW");
    assertDenied(denyProjectChange(comparing("SCMP_CMP_EQ", Number(fsSetXattr)), "x64"));
    const ofOneFile = denyProjectChange(comparing("SCMP_CMP_EQ", 3, 0), "x64");
    assertDenied(ofOneFile);
    assert.equal(actionOf(ofOneFile, "ioctl", [3n, 0x5401n]), "SCMP_ACT_ALLOW");
    assert.equal(actionOf(ofOneFile, "ioctl", [4n, 0x5401n]), "SCMP_ACT_ERRNO");
    assert.throws(
      () => denyProjectChange(comparing("SCMP_CMP_NE", 0x5401), "x64"),
      (error) => isKind(error, "invalid-argument") && /use SCMP_CMP_EQ/.test(String(error)),
    );
  });
});

describe("containerSpec() of a container with a limit", () => {
  const limited = { isLayerLimited: true };
  const securityContext = (over: object) => ({ linux: { securityContext: over } });

  test("denies the requests with the default profile and without one", () => {
    for (const profileType of [0, 1]) {
      const input = specInput(securityContext({ seccomp: { profileType } }), limited);
      const seccomp = containerSpec(input).linux.seccomp ?? assert.fail("it has no filter");
      assertDenied(seccomp);
      assert.equal(actionOf(seccomp, "ioctl", [0n, 0x5401n]), "SCMP_ACT_ALLOW");
    }
  });

  test("leaves privileged containers, and those without a limit, as they are", () => {
    const privileged = specInput(securityContext({ privileged: true }), limited);
    assert.equal(containerSpec(privileged).linux.seccomp, undefined);
    assert.equal(containerSpec(specInput()).linux.seccomp, undefined);
  });
});
