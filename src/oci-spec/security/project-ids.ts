import type { OciSeccomp, OciSyscallArg, OciSyscallRule } from "../../core/oci/index.ts";
import type { SpecHost } from "../input.ts";
import { refuse } from "../refuse.ts";
import { architectures } from "./seccomp-default.ts";

/**
 * The requests of ioctl(2) that take a file out of its project, or let new files be in none: FS_IOC_FSSETXATTR, and
 * FS_IOC_SETFLAGS with its 32-bit form, which clear the flag to inherit the project (linux/fs.h).
 */
const requests = [0x401c_5820, 0x4008_6602, 0x4004_6602] as const;
/** The system call that does the same since Linux 6.17. */
const setAttributes = "file_setattr";
const EPERM = 1;
/** The kernel uses 32 bits of the request, while a filter compares 64. */
const requestBits = 0xffff_ffff;
const permissive: ReadonlySet<string> = new Set([
  "SCMP_ACT_ALLOW",
  "SCMP_ACT_LOG",
  "SCMP_ACT_NOTIFY",
  "SCMP_ACT_TRACE",
]);

/**
 * A profile that also denies a process to move its files to another project, and so past the limit of its writable
 * layer. Without a profile, one with nothing else. `invalid-argument` for a profile whose rules for ioctl compare the
 * request in a way that cannot be combined with this.
 */
export function denyProjectChange(
  profile: OciSeccomp | undefined,
  arch: SpecHost["arch"],
): OciSeccomp {
  const given: OciSeccomp = profile ?? {
    defaultAction: "SCMP_ACT_ALLOW",
    architectures: architectures[arch],
  };
  const rules = (given.syscalls ?? []).flatMap((rule) => restrict(rule, given.defaultAction));
  return {
    ...given,
    syscalls: permissive.has(given.defaultAction) ? [...rules, ...denials] : rules,
  };
}

const denials: readonly OciSyscallRule[] = [
  ...requests.map(
    (request): OciSyscallRule => ({
      names: ["ioctl"],
      action: "SCMP_ACT_ERRNO",
      errnoRet: EPERM,
      args: [comparison(requestBits, request)],
    }),
  ),
  { names: [setAttributes], action: "SCMP_ACT_ERRNO", errnoRet: EPERM },
];

/** The rule without what changes projects. A rule with the default action says nothing. */
function restrict(rule: OciSyscallRule, defaultAction: string): readonly OciSyscallRule[] {
  if (!permissive.has(rule.action)) return [rule];
  const names = rule.names.filter((name) => name !== "ioctl" && name !== setAttributes);
  const others = names.length === 0 ? [] : [{ ...rule, names }];
  if (!rule.names.includes("ioctl") || rule.action === defaultAction) return others;
  return [...others, ...restrictIoctl({ ...rule, names: ["ioctl"] })];
}

function restrictIoctl(rule: OciSyscallRule): readonly OciSyscallRule[] {
  const compared = (rule.args ?? []).filter(({ index }) => index === 1);
  // Runtimes make several comparisons of one argument into several rules, of which any one suffices.
  if (compared.length === 0) {
    return others.map((other) => ({ ...rule, args: [...(rule.args ?? []), other] }));
  }
  const values = compared.map(({ op, value }) => {
    if (op === "SCMP_CMP_EQ") return Number(BigInt(value) & BigInt(requestBits));
    return refuse(
      "the seccomp profile compares the second argument of ioctl by another operator than SCMP_CMP_EQ, " +
        "and the container's writable layer is limited: use SCMP_CMP_EQ, or a pod without a limit",
    );
  });
  const denied: ReadonlySet<number> = new Set(requests);
  return values.some((value) => denied.has(value)) ? [] : [rule];
}

function comparison(mask: number, datum: number): OciSyscallArg {
  return { index: 1, value: mask, valueTwo: datum, op: "SCMP_CMP_MASKED_EQ" };
}

/** Comparisons of which one holds for each request but those, and none for those: a filter has no "and not". */
const others: readonly OciSyscallArg[] = complementOf(requests);

function complementOf(values: readonly number[]): readonly OciSyscallArg[] {
  const bits = Array.from({ length: 32 }, (_, at) => 2 ** at);
  const isSet = (value: number, bit: number): boolean => Math.floor(value / bit) % 2 === 1;
  const isShared = (bit: number): boolean =>
    new Set(values.map((each) => isSet(each, bit))).size === 1;
  const ordered = [...bits.filter(isShared), ...bits.filter((bit) => !isShared(bit))];
  const found: OciSyscallArg[] = [];
  const walk = (rest: readonly number[], at: number, mask: number, datum: number): void => {
    const bit = ordered[at];
    if (bit === undefined) return;
    for (const side of [0, bit]) {
      const inside = rest.filter((value) => isSet(value, bit) === side > 0);
      if (inside.length === 0) found.push(comparison(mask + bit, datum + side));
      else walk(inside, at + 1, mask + bit, datum + side);
    }
  };
  walk(values, 0, 0, 0);
  return found;
}
