// `davit doctor`: looks at everything that davit needs of a machine, and says what is wrong, why
// that matters and how to fix it. checks/ has a file for each group, a function from the Host (what
// is looked at) to findings (finding.ts); this-host.ts is the real one. Start at `checks`.
import { messageOf } from "../base/errors.ts";
import type { Check, DoctorContext } from "./check.ts";
import { capabilitiesCheck } from "./checks/capabilities.ts";
import { cgroupsCheck } from "./checks/cgroups.ts";
import { clockCheck } from "./checks/clock.ts";
import { configurationCheck } from "./checks/configuration.ts";
import { daemonCheck } from "./checks/daemon.ts";
import { diskCheck } from "./checks/disk.ts";
import { kernelCheck } from "./checks/kernel.ts";
import { leftoversCheck } from "./checks/leftovers.ts";
import { mountsCheck } from "./checks/mounts.ts";
import { networkCheck } from "./checks/network.ts";
import { programsCheck } from "./checks/programs.ts";
import { registriesCheck } from "./checks/registries.ts";
import { socketsCheck } from "./checks/sockets.ts";
import { type Catalogue, catalogue, type Finding, idsOf } from "./finding.ts";

/** Every group, in the order of the report. */
export const checks: readonly Check[] = [
  configurationCheck,
  kernelCheck,
  capabilitiesCheck,
  cgroupsCheck,
  programsCheck,
  mountsCheck,
  diskCheck,
  networkCheck,
  socketsCheck,
  daemonCheck,
  leftoversCheck,
  registriesCheck,
  clockCheck,
];

/** What can be found about the examination itself. */
export const ownKinds = catalogue("doctor", {
  late: ["error", "what it looks at does not answer, and may hold up davit serve, too"],
  failed: ["error", "something that it does not expect stands in its way"],
  "fix-failed": ["error", "the problem is still there"],
});

/** The ids of all findings that there are. */
export const allFindings: readonly string[] = [
  ...checks.map(({ catalogue: kinds }) => kinds),
  ownKinds as Catalogue,
].flatMap(idsOf);

const defaultDeadlineMs = 10_000;

/** What was found in one group. */
export interface GroupReport {
  readonly group: string;
  readonly title: string;
  readonly findings: readonly Finding[];
}

/** The outcome of an examination. */
export interface Report {
  readonly groups: readonly GroupReport[];
  /** What was not looked at, each with why. */
  readonly leftOut: readonly string[];
  /** What `--fix` did, each a sentence. */
  readonly fixed: readonly string[];
  /** Some check did not end: this process may not be able to end in the ordinary way. */
  readonly isLate: boolean;
}

/** Runs the checks, all at once; with `fix` applies the safe fixes and checks again. */
export async function examine(
  subject: Omit<DoctorContext, "leaveOut">,
  options: { readonly checks: readonly Check[]; readonly fix: boolean },
): Promise<Report> {
  const leftOut = new Set<string>();
  const whole: DoctorContext = { ...subject, leaveOut: (what) => void leftOut.add(what) };
  let late = false;
  const onLate = (): void => {
    late = true;
  };
  const look = (check: Check): Promise<GroupReport> => runCheck(check, whole, onLate);
  let groups = await Promise.all(options.checks.map(look));
  const fixed: string[] = [];
  if (options.fix) {
    const failed = await fixAll(groups, fixed);
    groups = await Promise.all(
      groups.map(async (group, index) => {
        const failures = failed.get(group.group);
        const check = options.checks[index];
        if (failures === undefined || check === undefined) return group;
        const again = await look(check);
        return { ...again, findings: [...again.findings, ...failures] };
      }),
    );
  }
  return { groups, leftOut: [...leftOut], fixed, isLate: late };
}

async function runCheck(
  check: Check,
  subject: DoctorContext,
  onLate: () => void,
): Promise<GroupReport> {
  const { group, title, deadlineMs = defaultDeadlineMs } = check;
  const end = Promise.withResolvers<readonly Finding[]>();
  const timer = setTimeout(() => {
    onLate();
    const text = `the check "${group}" did not end within ${deadlineMs / 1000} s`;
    const fix = "a dead network mount? look at df, and at mount -t nfs,nfs4,cifs,ceph";
    end.resolve([ownKinds.report("late", text, fix)]);
  }, deadlineMs);
  check.examine(subject).then(end.resolve, (error: unknown) => {
    const text = `the check "${group}": ${messageOf(error)}`;
    end.resolve([ownKinds.report("failed", text, "try --only with the other checks")]);
  });
  const findings = await end.promise;
  clearTimeout(timer);
  return { group, title, findings };
}

/** Applies every fix, in order. Returns the groups concerned, each with the fixes that failed. */
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
