import type { Ulimit } from "../../manifest/index.ts";
import type { Options } from "../command-line/options.ts";

/** The limits of the CRI (KEP-5758). */
const names = ["nofile", "memlock", "core", "nice", "rtprio", "stack"];
/** What limits the same, for limits of docker that the CRI does not have. */
const instead: Readonly<Record<string, string>> = {
  nproc: "; --pids-limit limits processes and threads",
  as: "; -m limits memory",
  data: "; -m limits memory",
  rss: "; -m limits memory",
};
const form = /^(?<name>[a-z]+)=(?<soft>-1|unlimited|\d{1,18})(?::(?<hard>-1|unlimited|\d{1,18}))?$/;

/**
 * Reads --ulimit as docker does: NAME=SOFT[:HARD]; without HARD both limits are SOFT, and the last one of a name counts.
 * Throws a UsageError for one that is invalid, or that the CRI does not have.
 */
export function readUlimits(options: Options): readonly Ulimit[] {
  const limits = new Map<string, Ulimit>();
  for (const text of options.texts("ulimit")) {
    const { name, soft: first, hard: second } = form.exec(text)?.groups ?? {};
    if (name === undefined || first === undefined) {
      throw options.invalid("ulimit", `is "${text}": must be NAME=SOFT[:HARD], -1 for no limit`);
    }
    if (!names.includes(name)) {
      const known = `the CRI has only ${names.join(", ")}`;
      throw options.invalid("ulimit", `is "${text}": ${known}${instead[name] ?? ""}`);
    }
    const [soft, hard] = [valueOf(first), valueOf(second ?? first)];
    if (hard !== -1n && (soft === -1n || soft > hard)) {
      throw options.invalid("ulimit", `is "${text}": the soft limit is above the hard one`);
    }
    limits.set(name, { name, soft, hard });
  }
  return [...limits.values()];
}

function valueOf(text: string): bigint {
  return text === "unlimited" ? -1n : BigInt(text);
}
