/**
 * Asks the npm registry for advisories about the packages of package-lock.json. Exits with 1 if one is severe enough,
 * and with 3 if the registry cannot be reached or has no advisories: then nothing is known.
 */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";

const severities = ["info", "low", "moderate", "high", "critical"] as const;
export type Severity = (typeof severities)[number];

/**
 * The lowest severity that fails. Shipped packages run as root and read data of images and clients. Development
 * packages read only this repository, and most advisories about them need other input.
 */
export const limits = { ships: "moderate", development: "high" } as const;

/** The output of `npm audit --json`; for a failure, the message and possibly a code. */
export interface AuditReport {
  readonly auditReportVersion?: number;
  readonly vulnerabilities?: Readonly<Record<string, Vulnerability>>;
  readonly message?: string;
  readonly error?: { readonly code?: string; readonly summary?: string };
}

interface Vulnerability {
  readonly name: string;
  /** Advisories, or the names of packages that have some and are dependencies of this one. */
  readonly via: readonly (string | Advisory)[];
  /** Where it is installed, as package-lock.json has it. */
  readonly nodes: readonly string[];
}

interface Advisory {
  readonly title: string;
  readonly url: string;
  readonly severity: Severity;
  readonly range: string;
}

/** The part of package-lock.json that says which packages are for development only. */
export interface Lock {
  readonly packages: Readonly<Record<string, { readonly dev?: boolean }>>;
}

interface AuditVerdict {
  readonly code: 0 | 1 | 3;
  readonly lines: readonly string[];
}

/** Evaluates the output of npm. */
export function judgeAudit(report: AuditReport, lock: Lock): AuditVerdict {
  if (report.auditReportVersion === undefined) return judgeFailure(report);
  const known = Object.values(report.vulnerabilities ?? {}).flatMap((each) =>
    each.via.filter((via) => typeof via !== "string").map((advisory) => ({ each, advisory })),
  );
  const found = known.filter(({ each, advisory }) => {
    const limit = ships(each, lock) ? limits.ships : limits.development;
    return severities.indexOf(advisory.severity) >= severities.indexOf(limit);
  });
  const lines = found.map(
    ({ each, advisory }) =>
      `${each.name} ${advisory.range} (${ships(each, lock) ? "ships" : "development"}), ` +
      `${advisory.severity}: ${advisory.title}, ${advisory.url}`,
  );
  if (lines.length > 0) return { code: 1, lines: [...lines, "fix: update these packages"] };
  return { code: 0, lines: [`${known.length} known advisories are below the limits`] };
}

/** Without a code the registry did not answer, or answered with an HTTP status. With one npm was called wrongly. */
function judgeFailure({ message, error }: AuditReport): AuditVerdict {
  if (error?.code === undefined && message !== undefined) {
    return { code: 3, lines: [`the registry gives no advisories: ${message}`] };
  }
  return { code: 1, lines: [`npm audit failed: ${error?.code ?? ""} ${error?.summary ?? ""}`] };
}

function ships({ nodes }: Vulnerability, lock: Lock): boolean {
  return nodes.some((node) => lock.packages[node]?.dev !== true);
}

function main(): void {
  process.chdir(path.resolve(import.meta.dirname, ".."));
  const args = ["audit", "--json", "--fetch-retries=0", "--fetch-timeout=15000"];
  const npm = spawnSync("npm", args, { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 });
  if (npm.error !== undefined) throw npm.error;
  const lock = JSON.parse(readFileSync("package-lock.json", "utf8")) as Lock;
  const { code, lines } = judgeAudit(JSON.parse(npm.stdout) as AuditReport, lock);
  for (const line of lines) process.stdout.write(`${line}\n`);
  process.exitCode = code;
}

if (import.meta.main) main();
