import { RuntimeError, wrap } from "../../../base/errors.ts";
import { run, type RunResult } from "../../../linux/process/index.ts";

/**
 * The user that programs run as which read what is from the network: none of the node, and above all that a pod
 * may run as, so that no other process can reach it or its files.
 */
export const unprivilegedUser = 4_294_967_000;

/** The directory of a program: it may not search the directories above. */
export const here = "/proc/self/cwd";

const timeoutMs = 10_000;
const maxOutputBytes = 256 * 1024;
const searchPath = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";

const drop = [
  `--reuid=${unprivilegedUser}`,
  `--regid=${unprivilegedUser}`,
  "--clear-groups",
  "--no-new-privs",
  "--bounding-set=-all",
  "--inh-caps=-all",
];

/** A program that verifies signatures. */
export interface VerifyingProgram {
  readonly name: "gpg" | "openssl";
  /** The package that has it. */
  readonly package: "gnupg" | "openssl";
  readonly args: readonly string[];
  /** Its directory. */
  readonly cwd: string;
  readonly input: Uint8Array;
  readonly signal: AbortSignal;
}

/**
 * Runs a program without rights (setpriv of util-linux), for 10 s at most. Resolves with any exit code;
 * `failed-precondition` where it is not installed, `deadline-exceeded` when it does not end in time.
 */
export async function runUnprivileged(program: VerifyingProgram): Promise<RunResult> {
  const { name, args, cwd, input, signal } = program;
  const doing = `verify a signature with ${name}`;
  let result: RunResult;
  try {
    result = await run({
      file: "setpriv",
      args: [...drop, name, ...args],
      cwd,
      env: { PATH: searchPath, HOME: here, LC_ALL: "C" },
      input: Buffer.from(input),
      timeoutMs,
      maxOutputBytes,
      killGroup: true,
      signal,
    });
  } catch (error) {
    const failure = wrap(doing, error);
    throw failure.kind === "not-found" ? notInstalled(doing, "setpriv", "util-linux") : failure;
  }
  // What setpriv answers for a program that is not there.
  if (result.code === 127) throw notInstalled(doing, name, program.package);
  return result;
}

/** The first line of what a program printed, without control characters. */
export function firstLine(text: Buffer): string {
  const line = text.toString("utf8").trim().split("\n", 1)[0] ?? "";
  return line.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, " ").slice(0, 200);
}

function notInstalled(doing: string, program: string, packageName: string): RuntimeError {
  const next = `install the package ${packageName}`;
  return new RuntimeError(
    "failed-precondition",
    `${doing}: ${program} is not installed on this node; ${next}`,
  );
}
