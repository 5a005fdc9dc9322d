/** A security defect of a program that davit runs, and the versions that fix it. */
interface KnownFix {
  readonly id: string;
  /** What a container or an image can do without the fix. */
  readonly allows: string;
  /** The first version with the defect; every version before the fix, if not given. */
  readonly since?: string;
  /** The first fixed version of each release branch, ascending; branches before the first are not fixed. */
  readonly fixedIn: readonly string[];
  /** Distribution revisions that have the fix, as do later revisions of the same version. */
  readonly backports?: readonly string[];
}

/** The programs with known defects, by the name at the beginning of their version text. */
export type KnownProgram = "crun" | "runc" | "conmon" | "portmap";

/**
 * From the advisories of the projects, as of 30 November 2026. Defects that davit cannot trigger are left
 * out: crun's CVE-2026-30892 needs `exec --user`, which davit never passes.
 */
const knownFixes: Readonly<Record<KnownProgram, readonly KnownFix[]>> = {
  crun: [
    {
      id: "CVE-2026-47766",
      allows: "an image's files can redirect what crun mounts or writes while a container starts",
      fixedIn: ["1.28"],
    },
  ],
  runc: [
    {
      id: "CVE-2024-21626",
      allows: "a working directory below /proc/self/fd leads out of the container",
      fixedIn: ["1.1.12"],
    },
    {
      id: "CVE-2025-31133",
      allows: "a container can have masked paths of /proc replaced by files that it chooses",
      fixedIn: ["1.2.8", "1.3.3", "1.4.0"],
      backports: ["1.1.15+ds1-2+deb13u1"],
    },
    {
      id: "CVE-2025-52565",
      allows: "a container can have /dev/console mounted over a file that it chooses",
      fixedIn: ["1.2.8", "1.3.3", "1.4.0"],
      backports: ["1.1.15+ds1-2+deb13u1"],
    },
    {
      id: "CVE-2025-52881",
      allows: "a container can redirect runc's writes to /proc, LSM labels among them",
      fixedIn: ["1.2.8", "1.3.3", "1.4.0"],
    },
    {
      id: "CVE-2026-41579",
      allows: "an image's /dev can redirect what runc makes there before it enters the root",
      fixedIn: ["1.3.6", "1.4.3"],
      backports: ["1.1.15+ds1-2+deb13u1"],
    },
  ],
  conmon: [
    {
      id: "CVE-2022-1708",
      allows: "the output of a container can fill memory and disk of the node",
      fixedIn: ["2.1.2"],
    },
  ],
  portmap: [
    {
      id: "CVE-2025-67499",
      allows: 'with "backend": "nftables" a host port takes the traffic of every address',
      since: "1.6.0",
      fixedIn: ["1.9.0"],
    },
  ],
};

/**
 * The known defects of a program according to `versionText`, the output of its version option
 * (`crun version 1.21`, and a line `commit: ...` with the distribution's revision where it has one).
 * Each is a sentence for the report. Empty where none is known and where the text contains no version.
 */
export function missingFixes(program: KnownProgram, versionText: string): readonly string[] {
  const version = parseVersion(/\bv?(\d+(?:\.\d+)+[^\s]*)/.exec(versionText)?.[1] ?? "");
  if (version === undefined) return [];
  const revision = /^commit: (\d\S*-\S+)$/m.exec(versionText)?.[1];
  return knownFixes[program]
    .filter((fix) => hasDefect(fix, version) && !isBackported(fix, revision))
    .map(({ id, allows, fixedIn }) => `${id}, fixed in ${fixedIn.join(", ")}: ${allows}`);
}

function hasDefect({ since, fixedIn }: KnownFix, version: readonly number[]): boolean {
  const first = since === undefined ? undefined : parseVersion(since);
  if (first !== undefined && compare(version, first) < 0) return false;
  const fixes = fixedIn.map((text) => parseVersion(text) ?? []);
  const ofBranch = fixes.find((fix) => fix[0] === version[0] && fix[1] === version[1]);
  if (ofBranch !== undefined) return compare(version, ofBranch) < 0;
  // A branch after the last fixed one has the fix from its start; a branch between two does not have it.
  return compare(version, fixes.at(-1) ?? []) < 0;
}

/** The same upstream version with an equal or later revision of the same distribution. */
function isBackported({ backports = [] }: KnownFix, revision: string | undefined): boolean {
  if (revision === undefined) return false;
  return backports.some((backport) => {
    const [, stem = backport, number = "0"] = /^(.*?)(\d+)$/.exec(backport) ?? [];
    return revision.startsWith(stem) && Number.parseInt(revision.slice(stem.length), 10) >= +number;
  });
}

/** `1.4.0-rc.2` counts as the version before 1.4.0; `+ds1` and other suffixes do not count. */
function parseVersion(text: string): readonly number[] | undefined {
  const match = /^(\d+)\.(\d+)(?:\.(\d+))?(-rc)?/.exec(text);
  if (match === null) return undefined;
  const [, major, minor, patch = 0, candidate] = match;
  return [Number(major), Number(minor), Number(patch) - (candidate === undefined ? 0 : 0.5)];
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let index = 0; index < 3; index += 1) {
    const difference = (a[index] ?? 0) - (b[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
