import type { Config } from "../config/config.ts";
import type { Catalogue, Finding } from "./finding.ts";
import type { Host } from "./host.ts";

/** What is examined. */
export interface DoctorContext {
  readonly host: Host;
  /** The configuration, or the defaults where it cannot be used. */
  readonly config: Config;
  /** The file that was named or found; undefined for the defaults. */
  readonly configFile: string | undefined;
  /** What is wrong with the file, as `config check` says it. */
  readonly configProblems: readonly string[];
  /** This command's version. */
  readonly version: string;
  /** Whether to ask every configured registry. */
  readonly askRegistries: boolean;
  /** Images whose registries are asked. */
  readonly images: readonly string[];
  /** Notes that something was not looked at, and why. */
  readonly leaveOut: (what: string) => void;
}

/** A group of things that belong together, looked at one after the other. */
export interface Check {
  /** What `--only` calls it. */
  readonly group: string;
  /** Its heading. */
  readonly title: string;
  readonly catalogue: Catalogue;
  /** After this the examination goes on without it. 10 s if not given. */
  readonly deadlineMs?: number;
  examine(subject: DoctorContext): Promise<readonly Finding[]>;
}

/** The lines of a file of the kernel as words; none when it is not there. */
export function wordsOf(text: string | undefined): readonly string[] {
  return (text ?? "").split(/\s+/).filter((word) => word !== "");
}

/** A number that a file holds; undefined when there is none. */
export function numberOf(text: string | undefined): number | undefined {
  const word = (text ?? "").trim();
  return /^\d+$/.test(word) ? Number(word) : undefined;
}

/** The first line of what a program said, for putting it into a sentence. */
export function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
