// Checks everything that davit needs of a machine and reports what is wrong, why that matters and how to
// fix it. checks/ has a file for each group: a function from the Host (the machine, host.ts) to findings
// (finding.ts); this-host.ts is the real machine. Start at `checks`.
import { messageOf } from "../base/errors.ts";
import type { Check, DoctorContext } from "./check.ts";
import { capabilitiesCheck } from "./checks/capabilities.ts";
import { cgroupsCheck } from "./checks/cgroups.ts";
import { checkpointsCheck } from "./checks/checkpoints.ts";
import { classesCheck } from "./checks/classes.ts";
import { clockCheck } from "./checks/clock.ts";
import { configurationCheck } from "./checks/configuration.ts";
import { daemonCheck } from "./checks/daemon.ts";
import { diskCheck } from "./checks/disk.ts";
import { kernelCheck } from "./checks/kernel.ts";
import { leftoversCheck } from "./checks/leftovers.ts";
import { mountsCheck } from "./checks/mounts.ts";
import { networkCheck } from "./checks/network.ts";
import { nriCheck } from "./checks/nri.ts";
import { programsCheck } from "./checks/programs.ts";
import { registriesCheck } from "./checks/registries.ts";
import { socketsCheck } from "./checks/sockets.ts";
import { type Catalogue, catalogue, type Finding, idsOf } from "./finding.ts";

/** All groups of checks, in the order of the report. */
export const checks: readonly Check[] = [
  configurationCheck,
  kernelCheck,
  capabilitiesCheck,
  cgroupsCheck,
  classesCheck,
  nriCheck,
  programsCheck,
  checkpointsCheck,
  mountsCheck,
  diskCheck,
  networkCheck,
  socketsCheck,
  daemonCheck,
  leftoversCheck,
  registriesCheck,
  clockCheck,
];

/** Findings about the checks themselves. */
export const ownKinds = catalogue("doctor", {
  late: ["error", "what the check reads does not respond, and can block davit serve, too"],
  failed: ["error", "the check met an unexpected error, so nothing is known about its subject"],
  "fix-failed": ["error", "the problem persists"],
});

/** The ids of all possible findings. */
export const allFindings: readonly string[] = [
  ...checks.map(({ catalogue: kinds }) => kinds),
  ownKinds as Catalogue,
].flatMap(idsOf);

const defaultDeadlineMs = 10_000;

/** The findings of one group. */
export interface GroupReport {
  readonly group: string;
  readonly title: string;
  readonly findings: readonly Finding[];
}

/** The result of all checks. */
export interface Report {
  readonly groups: readonly GroupReport[];
  /** What was not checked, each with the reason. */
  readonly skipped: readonly string[];
  /** The fixes that were applied, a sentence each. */
  readonly fixed: readonly string[];
  /** A check did not finish: a thread may hang in the kernel, and exit(3) would wait for it. */
  readonly timedOut: boolean;
}

/** Runs the checks concurrently; with `fix`, applies the safe fixes and checks their groups again. */
export async function examine(
  context: Omit<DoctorContext, "skip">,
  options: { readonly checks: readonly Check[]; readonly fix: boolean },
): Promise<Report> {
  const skipped = new Set<string>();
  const whole: DoctorContext = { ...context, skip: (reason) => void skipped.add(reason) };
  let timedOut = false;
  const onTimeout = (): void => {
    timedOut = true;
  };
  const runOne = (check: Check): Promise<GroupReport> => runCheck(check, whole, onTimeout);
  let groups = await Promise.all(options.checks.map(runOne));
  const fixed: string[] = [];
  if (options.fix) {
    const failed = await fixAll(groups, fixed);
    groups = await Promise.all(
      groups.map(async (group, index) => {
        const failures = failed.get(group.group);
        const check = options.checks[index];
        if (failures === undefined || check === undefined) return group;
        const again = await runOne(check);
        return { ...again, findings: [...again.findings, ...failures] };
      }),
    );
  }
  return { groups, skipped: [...skipped], fixed, timedOut };
}

async function runCheck(
  check: Check,
  context: DoctorContext,
  onTimeout: () => void,
): Promise<GroupReport> {
  const { group, title, deadlineMs = defaultDeadlineMs } = check;
  const end = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(() => {
    onTimeout();
    const text = `the check "${group}" did not finish within ${deadlineMs / 1000} s`;
    const fix = "look for a network mount that does not respond: df, mount -t nfs,nfs4,cifs,ceph";
    end.resolve([ownKinds.report("late", text, fix)]);
  }, deadlineMs);
  check.examine(context).then(end.resolve, (error: unknown) => {
    const text = `the check "${group}" failed: ${messageOf(error)}`;
    end.resolve([ownKinds.report("failed", text, "fix the cause; --only runs the other checks")]);
  });
  const findings = await end.promise;
  clearTimeout(timer);
  return { group, title, findings };
}

/** Applies all fixes in order. Returns the groups that had one, each with the fixes that failed. */
async function fixAll(
  groups: readonly GroupReport[],
  fixed: string[],
): Promise<ReadonlyMap<string, readonly Finding[]>> {
  const failed = new Map<string, Finding[]>();
  for (const { group, findings } of groups) {
    for (const { id, fix } of findings) {
      if (fix?.apply === undefined) continue;
      const failures = failed.get(group) ?? [];
      failed.set(group, failures);
      try {
        fixed.push(await fix.apply());
      } catch (error) {
        const text = `the fix of ${id} failed: ${messageOf(error)}`;
        failures.push(ownKinds.report("fix-failed", text, fix.text));
      }
    }
  }
  return failed;
}
