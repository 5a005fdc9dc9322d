import type { Config } from "../config/config.ts";
import type { Catalogue, Finding } from "./finding.ts";
import type { Host } from "./host.ts";

/** What the checks examine, and with which options. */
export interface DoctorContext {
  readonly host: Host;
  /** The configuration, or the defaults where it cannot be used. */
  readonly config: Config;
  /** The configuration file; undefined for the defaults. */
  readonly configFile: string | undefined;
  /** The errors in the file, as `config check` prints them. */
  readonly configProblems: readonly string[];
  /** This command's version. */
  readonly version: string;
  /** Whether to probe every configured registry. */
  readonly probeRegistries: boolean;
  /** Images to resolve at their registries. */
  readonly images: readonly string[];
  /** Reports that something was not checked, and why. */
  readonly skip: (reason: string) => void;
}

/** One group of checks, which run one after another. */
export interface Check {
  /** Its name, as `--only` takes it. */
  readonly group: string;
  /** Its heading in the report. */
  readonly title: string;
  readonly catalogue: Catalogue;
  /** The report does not wait longer for this check. The default is 10 s. */
  readonly deadlineMs?: number;
  examine(context: DoctorContext): Promise<readonly Finding[]>;
}

/** The words of a file; empty when there is no file. */
export function wordsOf(text: string | undefined): readonly string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

/** The number in a file; undefined when there is no file or it holds no number. */
export function numberOf(text: string | undefined): number | undefined {
  const word = (text ?? "").trim();
  return /^\d+$/.test(word) ? Number(word) : undefined;
}

/** The first line of a program's output, to be quoted in a message. */
export function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
