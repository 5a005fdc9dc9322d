/** A seccomp policy with every field. */
export const seccomp = {
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
