import type {
  LinuxSeccomp,
  LinuxSeccompArg,
  LinuxSyscall,
} from "../../../../gen/nri/pkg/api/v1alpha1/api_pb.ts";
import { quote } from "../../../../base/quote.ts";
import { seccompActions, seccompOperators } from "../../../../core/oci/index.ts";
import { checkCount, checkPath, checkText, type Refuse } from "../answer.ts";

const field = "linux.seccomp_policy";
const longestName = 256;
// MAX_ERRNO of include/linux/err.h.
const highestErrno = 4095;

/** Refuses a filter that is not of the runtime-spec's form (config-linux.md, "Seccomp"). */
export function checkSeccomp(policy: LinuxSeccomp, refuse: Refuse): void {
  checkAction(`${field}.default_action`, policy.defaultAction, refuse);
  checkErrno(`${field}.default_errno`, policy.defaultErrno?.value, refuse);
  for (const name of ["architectures", "flags"] as const) {
    checkCount(`${field}.${name}`, policy[name].length, refuse);
    for (const word of policy[name]) checkText(`${field}.${name}`, word, longestName, refuse);
  }
  if (policy.listenerPath !== "") checkPath(`${field}.listener_path`, policy.listenerPath, refuse);
  checkText(`${field}.listener_metadata`, policy.listenerMetadata, 4096, refuse);
  checkCount(`${field}.syscalls`, policy.syscalls.length, refuse);
  for (const rule of policy.syscalls) checkRule(rule, refuse);
}

function checkRule({ names, action, errnoRet, args }: LinuxSyscall, refuse: Refuse): void {
  if (names.length === 0) refuse(`${field}.syscalls`, "a rule has no names");
  checkCount(`${field}.syscalls.names`, names.length, refuse);
  for (const name of names) checkText(`${field}.syscalls.names`, name, longestName, refuse);
  checkAction(`${field}.syscalls.action`, action, refuse);
  checkErrno(`${field}.syscalls.errno_ret`, errnoRet?.value, refuse);
  checkCount(`${field}.syscalls.args`, args.length, refuse);
  for (const arg of args) checkArg(arg, refuse);
}

function checkArg({ index, op }: LinuxSeccompArg, refuse: Refuse): void {
  if (index > 5) refuse(`${field}.syscalls.args.index`, `must be 0 to 5, got ${index}`);
  if (!seccompOperators.some((known) => known === op)) {
    refuse(
      `${field}.syscalls.args.op`,
      `must be one of ${seccompOperators.join(", ")}, got ${quote(op)}`,
    );
  }
}

function checkAction(name: string, action: string, refuse: Refuse): void {
  if (seccompActions.some((known) => known === action)) return;
  refuse(name, `must be one of ${seccompActions.join(", ")}, got ${quote(action)}`);
}

function checkErrno(name: string, errno: number | undefined, refuse: Refuse): void {
  if ((errno ?? 0) > highestErrno) refuse(name, `must be at most ${highestErrno}, got ${errno}`);
}
