import type {
  OciLinux,
  OciSeccomp,
  OciSeccompAction,
  OciSeccompOperator,
  OciSyscallRule,
} from "../../core/oci/index.ts";
import type {
  LinuxContainerAdjustment,
  LinuxSeccomp,
  LinuxSyscall,
} from "../../gen/nri/pkg/api/v1alpha1/api_pb.ts";

/** A filter of a plugin replaces the container's, also that of an unconfined or privileged one. */
export function adjustedSeccomp(
  linux: OciLinux,
  { seccompPolicy }: LinuxContainerAdjustment,
): OciLinux {
  return seccompPolicy === undefined ? linux : { ...linux, seccomp: seccompOf(seccompPolicy) };
}

function seccompOf(policy: LinuxSeccomp): OciSeccomp {
  const { defaultErrno, architectures, flags, listenerPath, listenerMetadata, syscalls } = policy;
  return {
    // Its names were checked when the plugin answered.
    defaultAction: policy.defaultAction as OciSeccompAction,
    ...(defaultErrno === undefined ? {} : { defaultErrnoRet: defaultErrno.value }),
    ...(architectures.length === 0 ? {} : { architectures }),
    ...(flags.length === 0 ? {} : { flags }),
    ...(listenerPath === "" ? {} : { listenerPath }),
    ...(listenerMetadata === "" ? {} : { listenerMetadata }),
    syscalls: syscalls.map(ruleOf),
  };
}

function ruleOf({ names, action, errnoRet, args }: LinuxSyscall): OciSyscallRule {
  return {
    names,
    action: action as OciSeccompAction,
    ...(errnoRet === undefined ? {} : { errnoRet: errnoRet.value }),
    ...(args.length === 0
      ? {}
      : {
          args: args.map(({ index, value, valueTwo, op }) => ({
            index,
            value,
            ...(valueTwo === 0n ? {} : { valueTwo }),
            op: op as OciSeccompOperator,
          })),
        }),
  };
}
