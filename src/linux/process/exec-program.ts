/** What the program that runs a command in a container of crun is told (native/exec.c). */
export interface ExecPlan {
  /** The container's first process: its pid, and its start in clock ticks after boot. */
  readonly init: { readonly pid: number; readonly startTime: bigint };
  /** Where the pid of the command is written as soon as it is executed. The file must not exist. */
  readonly pidFile: string;
  /** `freezer.state` of cgroup v1, `cgroup.freeze` of v2. Nothing is run in a container that is paused. */
  readonly freezerFile: string;
  /** The container's compiled seccomp filter; undefined without one. */
  readonly filterFile: string | undefined;
  /** The cgroups of the command: files to write its pid to, or the one directory of cgroup v2. */
  readonly cgroups:
    | { readonly version: "v1"; readonly procsFiles: readonly string[] }
    | { readonly version: "v2"; readonly directory: string };
  readonly user: number;
  readonly group: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly noNewPrivileges: boolean;
  readonly oomScoreAdj: number;
  /** Bit masks by the numbers of capabilities(7). */
  readonly capabilities: {
    readonly bounding: bigint;
    readonly effective: bigint;
    readonly permitted: bigint;
    readonly inheritable: bigint;
    readonly ambient: bigint;
  };
  /** Numbers of setrlimit(2) with their limits. */
  readonly limits: readonly {
    readonly resource: number;
    readonly soft: bigint;
    readonly hard: bigint;
  }[];
  /** As paths of the container. */
  readonly directory: string;
  readonly args: readonly string[];
}

/** The exit code of the program when it has not run the command, and has written no pid file. */
export const execDeclined = 125;

/**
 * The arguments of the program; the environment of the command is that of the program. They begin like those of an OCI
 * runtime, by which the next daemon finds what this one has left. The order is that of native/exec.c.
 */
export function execArguments(plan: ExecPlan): readonly string[] {
  const { init, cgroups, capabilities, groups, limits } = plan;
  const files = cgroups.version === "v2" ? [cgroups.directory] : cgroups.procsFiles;
  const numbers = [
    ...[init.pid, init.startTime, plan.user, plan.group, plan.umask, plan.noNewPrivileges ? 1 : 0],
    plan.oomScoreAdj + 1000,
    ...[capabilities.bounding, capabilities.effective, capabilities.permitted],
    ...[capabilities.inheritable, capabilities.ambient],
    cgroups.version === "v2" ? 1 : 0,
    ...[groups.length, limits.length, files.length],
    ...groups,
    ...limits.flatMap(({ resource, soft, hard }) => [resource, soft, hard]),
  ];
  return [
    ...["exec", "--pid-file", plan.pidFile, plan.freezerFile, plan.filterFile ?? ""],
    ...[numbers.join(), plan.directory, ...files, ...plan.args],
  ];
}
