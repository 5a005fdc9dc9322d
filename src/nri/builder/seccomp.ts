import type { LinuxSeccomp, LinuxSyscall } from "../messages.ts";
import { invalid, matching, max, text, texts, whole } from "./check.ts";
import type { SeccompInput, SyscallInput } from "./inputs.ts";

/** A seccomp policy with the names and ranges of the OCI runtime spec. */
export function seccompOf(input: SeccompInput): LinuxSeccomp {
  const { defaultErrno } = input;
  return {
    defaultAction: action("seccomp: defaultAction", input.defaultAction),
    ...(defaultErrno === undefined
      ? {}
      : { defaultErrno: errno("seccomp: defaultErrno", defaultErrno) }),
    architectures: (input.architectures ?? []).map((name) =>
      matching("seccomp: architectures", name, /^SCMP_ARCH_[A-Z0-9_]+$/, "SCMP_ARCH_*"),
    ),
    flags: (input.flags ?? []).map((name) =>
      matching("seccomp: flags", name, /^SECCOMP_FILTER_FLAG_[A-Z_]+$/, "SECCOMP_FILTER_FLAG_*"),
    ),
    listenerPath: text("seccomp: listenerPath", input.listenerPath ?? "", true),
    listenerMetadata: text("seccomp: listenerMetadata", input.listenerMetadata ?? "", true),
    syscalls: (input.syscalls ?? []).map(syscallOf),
  };
}

function syscallOf(input: SyscallInput): LinuxSyscall {
  const names = texts("seccomp: names", input.names);
  if (names.length === 0) throw invalid("seccomp: names", "at least one system call", names);
  return {
    names,
    action: action("seccomp: action", input.action),
    ...(input.errnoRet === undefined
      ? {}
      : { errnoRet: errno("seccomp: errnoRet", input.errnoRet) }),
    args: (input.args ?? []).map(({ index, value, valueTwo, op }) => ({
      index: Number(whole("seccomp: index", index, 0, 5)),
      value: whole("seccomp: value", value, 0, max.uint64),
      valueTwo: whole("seccomp: valueTwo", valueTwo ?? 0, 0, max.uint64),
      op: matching("seccomp: op", op, /^SCMP_CMP_[A-Z_]+$/, "SCMP_CMP_*"),
    })),
  };
}

function action(what: string, name: string): string {
  return matching(what, name, /^SCMP_ACT_[A-Z_]+$/, 'an action such as "SCMP_ACT_ERRNO"');
}

function errno(what: string, value: number): number {
  return Number(whole(what, value, 0, 4095));
}
