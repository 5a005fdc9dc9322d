import type { OciSeccomp, OciSyscallRule } from "../../core/oci/index.ts";
import type { NotifierAction } from "./notifier-annotations.ts";
import { syscallNames } from "./syscall-numbers.ts";

const errno = { EPERM: 1, ENOSYS: 38 } as const;

/**
 * Without these no command starts or ends, and the OCI runtime could not send the filter: a profile that denies one of
 * them denies it as before. runc refuses to report "write".
 */
const unreported: ReadonlySet<string> = new Set([
  "close",
  "execve",
  "exit",
  "exit_group",
  "read",
  "rt_sigreturn",
  "sendmsg",
  "write",
]);

/** What a process is denied, for the one who answers its calls: kept in the listenerMetadata of its spec. */
export interface NotifierMetadata {
  readonly action: NotifierAction;
  /** The errno of calls that have no other. */
  readonly errno: number;
  readonly errnos?: Readonly<Record<string, number>>;
}

/**
 * A profile whose denied calls wait for davit's answer, which is the errno that they have without it. An answer of ENOSYS
 * is not a denial: it tells the C library to do without the call. Rules that kill are kept. OCI runtimes cannot
 * report the default action, so calls that no rule names get a rule.
 */
export function withNotifier(
  profile: OciSeccomp,
  action: NotifierAction,
  listenerPath: string,
): OciSeccomp {
  const { syscalls = [], defaultAction, defaultErrnoRet = errno.EPERM } = profile;
  const denies = defaultAction === "SCMP_ACT_ERRNO" && defaultErrnoRet !== errno.ENOSYS;
  const usual = denies ? defaultErrnoRet : errno.EPERM;
  const errnos: Record<string, number> = {};
  const rules = syscalls.map((rule): OciSyscallRule => {
    const { names, args, errnoRet = errno.EPERM } = rule;
    const isReported = rule.action === "SCMP_ACT_ERRNO" && errnoRet !== errno.ENOSYS;
    if (!isReported || names.some((name) => unreported.has(name))) return rule;
    if (errnoRet !== usual) for (const name of names) errnos[name] = errnoRet;
    return { names, action: "SCMP_ACT_NOTIFY", ...(args === undefined ? {} : { args }) };
  });
  if (denies) {
    const named = new Set([...unreported, ...syscalls.flatMap(({ names }) => names)]);
    const names = [...syscallNames()].filter((name) => !named.has(name)).toSorted();
    rules.push({ names, action: "SCMP_ACT_NOTIFY" });
  }
  const metadata: NotifierMetadata = {
    action,
    errno: usual,
    ...(Object.keys(errnos).length === 0 ? {} : { errnos }),
  };
  return {
    ...profile,
    syscalls: rules,
    listenerPath,
    listenerMetadata: JSON.stringify(metadata),
  };
}

/** Reads listenerMetadata again; what it cannot be read from is denied with EPERM and reported. */
export function parseNotifierMetadata(text: unknown): NotifierMetadata {
  try {
    const { action, errno: usual, errnos } = JSON.parse(String(text)) as Partial<NotifierMetadata>;
    const known = Object.entries(errnos ?? {}).filter(([, number]) => isErrno(number));
    return {
      action: action === "stop" ? "stop" : "log",
      errno: isErrno(usual) ? Number(usual) : errno.EPERM,
      errnos: Object.fromEntries(known),
    };
  } catch {
    return { action: "log", errno: errno.EPERM };
  }
}

function isErrno(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) > 0 && Number(value) < 4096;
}
